"""The training loss: mean squared error, weighted per sample."""

import torch

from lora_core.diffusion.source import Prediction


def min_snr_weight(snr: torch.Tensor, gamma: float, prediction: Prediction = "epsilon") -> torch.Tensor:
    """min(snr, gamma) / snr, for v-prediction min(snr, gamma) / (snr + 1).

    Source: Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy" (arXiv:2303.09556).

    Args:
        snr: signal-to-noise ratios, any shape.
        gamma: the cap; 5 in the paper.
        prediction: what the U-Net predicts.
    """
    divisor = snr if prediction == "epsilon" else snr + 1.0
    return snr.clamp(max=gamma) / divisor


def debiased_weight(snr: torch.Tensor, prediction: Prediction = "epsilon") -> torch.Tensor:
    """1 / √snr, for v-prediction 1 / (snr + 1); the ratio is taken as 1000 at most, as sd-scripts does.

    Source: Yu et al. 2023, "Debias the Training of Diffusion Models" (arXiv:2310.08442).

    Args:
        snr: signal-to-noise ratios, any shape.
        prediction: what the U-Net predicts.
    """
    snr = snr.clamp(max=1000.0)
    return 1.0 / (snr.sqrt() if prediction == "epsilon" else snr + 1.0)


def weighted_mse(
    predicted: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor, masks: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the batch of weight · mean squared error of the sample, in float32.

    The weights do not divide the sum: a regularization picture at weight 0.5 counts half, as in sd-scripts. Neither do
    the masks: a subject that fills a quarter of the picture counts a quarter, also as there.

    Args:
        predicted: (B, C, H, W).
        wanted: (B, C, H, W).
        weights: (B,).
        masks: (B, 1, H, W), how much each place counts, 0 to 1.

    Returns:
        A scalar.
    """
    errors = torch.nn.functional.mse_loss(predicted.float(), wanted.float(), reduction="none")
    if masks is not None:
        errors = errors * masks
    return (errors.mean(dim=(1, 2, 3)) * weights).mean()
