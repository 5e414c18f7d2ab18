"""Both trainings and the merge between them."""

from typing import Literal

from pydantic import Field

from lora_core.recipe.options import Options


class Training(Options):
    """A LoRA training, in sd-scripts' terms."""

    resolution: int = Field(
        default=512,
        ge=64,
        le=2048,
        multiple_of=8,
        title="Resolution (px)",
        description="Side at which pictures are trained. The method's is 512.",
    )
    repeats: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Repeats",
        description="How often an epoch shows each picture. The method's is 10.",
    )
    epochs: int = Field(
        default=10, ge=1, le=1000, title="Epochs", description="Passes over the set, one file each. The method's is 10."
    )
    rank: int = Field(default=32, ge=1, le=512, title="Rank", description="Width of the LoRA (network dim).")
    alpha: float = Field(
        default=16, gt=0, le=512, title="Alpha", description="The LoRA's output is scaled by alpha / rank."
    )
    unet_lr: float = Field(
        default=1e-4, ge=0, le=1, title="U-Net learning rate", description="The method's is 1e-4. 0: not trained."
    )
    text_encoder_lr: float = Field(
        default=2e-5,
        ge=0,
        le=1,
        title="Text encoder learning rate",
        description="The method's is 2e-5. 0: not trained.",
    )
    batch: int = Field(
        default=1,
        ge=1,
        le=256,
        title="Batch",
        description="Pictures a step. The method does not say; 1 was sd-scripts' default, and the learning rates "
        "fit it.",
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=1,
        title="Weight decay",
        description="AdamW's. The method does not name an optimizer; AdamW with 0.01, constant, is sd-scripts' "
        "default.",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=100_000,
        title="Warm-up (steps)",
        description="Steps over which the learning rate rises from 0; then it is constant. The method does not "
        "say; 0 is sd-scripts' default.",
    )
    max_grad_norm: float = Field(
        default=1.0,
        ge=0,
        le=100,
        title="Gradient clipping",
        description="Largest norm of the gradients. 0: no clipping. 1.0 is sd-scripts' default.",
    )
    min_snr_gamma: float = Field(
        default=0,
        ge=0,
        le=20,
        title="Min-SNR gamma",
        description="Loss weight min(snr, gamma) / snr (Hang et al. 2023). 0: off, as in the method. 5 is the paper's.",
    )
    prior_loss_weight: float = Field(
        default=1.0,
        ge=0,
        le=10,
        title="Weight of regularization pictures",
        description="Factor on their loss. The method does not say; 1.0 is sd-scripts' default.",
    )
    shuffle_caption: bool = Field(
        default=False,
        title="Shuffle captions",
        description="Put the tags behind the trigger in a new order at every step. The method does not say; off "
        "is sd-scripts' default.",
    )
    keep_tokens: int = Field(
        default=1,
        ge=0,
        le=75,
        title="Keep tokens",
        description="Tags at the front that shuffling leaves in place: the trigger.",
    )
    caption_dropout: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Caption dropout",
        description="Share of samples, regularization included, trained with an empty caption: no tags, no trigger. "
        "What CFG compares every prompt with is then trained too, and the LoRA shows a little without its trigger. The "
        "method does not say; 0 is sd-scripts' default.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        title="Precision",
        description="Of the frozen model while training; the LoRA itself stays fp32. 'auto': bf16 where a GPU "
        "has it, fp32 on a CPU.",
    )
    save_precision: Literal["fp16", "bf16", "fp32"] = Field(
        default="fp16", title="Precision of the files", description="fp16 is what web UIs expect."
    )
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        title="Seed",
        description="Of order, noise, timesteps and the LoRA's first values. The method does not say.",
    )
    checkpoint_minutes: float = Field(
        default=5,
        gt=0,
        le=600,
        title="Checkpoint every (minutes)",
        description="How much work a crash can cost. The state is saved after every epoch as well.",
    )


class StyleTraining(Training):
    """Stage 1: the style LoRA. Rank 64, alpha 32."""

    rank: int = Field(
        default=64, ge=1, le=512, title="Rank", description="Width of the LoRA (network dim). The method's is 64."
    )
    alpha: float = Field(
        default=32,
        gt=0,
        le=512,
        title="Alpha",
        description="The LoRA's output is scaled by alpha / rank. The method's is 32.",
    )


class CharacterTraining(Training):
    """Stage 3: the character LoRA. Rank 32, alpha 16."""

    rank: int = Field(
        default=32, ge=1, le=512, title="Rank", description="Width of the LoRA (network dim). The method's is 32."
    )
    alpha: float = Field(
        default=16,
        gt=0,
        le=512,
        title="Alpha",
        description="The LoRA's output is scaled by alpha / rank. The method's is 16.",
    )


class Regularization(Options):
    """Stage 1's pictures beside the character's, so that what they share is not learned as the character."""

    use: bool = Field(default=True, title="Use", description="The method uses stage 1's pictures.")
    repeats: int = Field(
        default=1,
        ge=1,
        le=1000,
        title="Repeats",
        description="1 in the method. The set is repeated until it is as large as the character's, so this "
        "hardly matters.",
    )


class Merge(Options):
    """Stage 2: the style LoRA into the base."""

    use: bool = Field(
        default=True,
        title="Use",
        description="Train the character on the merged model, as the method does. false: straight on the base, to "
        "compare; no style LoRA is trained then.",
    )
    weight: float = Field(
        default=1.0, ge=-4, le=4, title="Strength", description="Factor on the LoRA. The method's is 1.0."
    )
