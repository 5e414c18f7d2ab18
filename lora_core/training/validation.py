"""The loss on pictures that are not trained: the same timesteps and noise every time."""

from collections.abc import Sequence

import torch

from lora_core.device import counter_generator
from lora_core.diffusion.schedule import TRAIN_STEPS
from lora_core.recipe import Training
from lora_core.training.batch import Batch, size_ids
from lora_core.training.loop import Stepper
from lora_core.training.samples import Picture

_NOISE = 8
_TIMESTEPS = 8


class Validation:
    """The training's own loss on held-out pictures, each at eight timesteps spread evenly over the schedule."""

    def __init__(
        self, stepper: Stepper, pictures: Sequence[Picture], latents: Sequence[torch.Tensor], options: Training
    ) -> None:
        """Args: latents: (4, h, w), one a picture."""
        self._stepper = stepper
        self._batches = [
            _batch(number, picture, latent, options.seed)
            for number, (picture, latent) in enumerate(zip(pictures, latents, strict=True))
        ]

    @torch.no_grad()
    def loss(self) -> float:
        """Mean over pictures and timesteps."""
        return float(torch.stack([self._stepper.loss(batch) for batch in self._batches]).mean())


def _batch(number: int, picture: Picture, latent: torch.Tensor, seed: int) -> Batch:
    generator = counter_generator(seed, _NOISE, number)
    timesteps = (torch.arange(_TIMESTEPS) * 2 + 1) * TRAIN_STEPS // (2 * _TIMESTEPS)
    return Batch(
        latents=latent.expand(_TIMESTEPS, *latent.shape),
        noise=torch.randn((_TIMESTEPS, *latent.shape), generator=generator),
        timesteps=timesteps,
        captions=(", ".join(picture.tags),) * _TIMESTEPS,
        weights=torch.ones(_TIMESTEPS),
        sizes=torch.tensor([size_ids(picture)] * _TIMESTEPS),
        counters=tuple((seed, 0, 0) for _ in range(_TIMESTEPS)),
        prior=torch.zeros(_TIMESTEPS, dtype=torch.bool),
    )
