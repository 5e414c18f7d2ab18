"""Both trainings and the merge between them."""

import re
from ast import literal_eval
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from lora_core.recipe.network import Network, Noise
from lora_core.recipe.options import Options

OptimizerName = Literal["adamw", "adamw8bit", "lion", "prodigy", "adafactor"]
"""The optimizers that are tested here. Any other is named by its class."""


def _known_optimizer(name: str) -> str:
    if name not in get_args(OptimizerName) and not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", name):
        names = ", ".join(get_args(OptimizerName))
        raise ValueError(f"{name!r} is no optimizer; use {names}, or a class by its path, such as torch.optim.RAdam")
    return name


class Training(Options):
    """A LoRA training, in sd-scripts' terms."""

    resolution: int = Field(default=512, ge=64, le=2048, multiple_of=8, title="Resolution (px)")
    """Side at which pictures are trained. The method's is 512."""
    repeats: int = Field(default=10, ge=1, le=1000, title="Repeats")
    """How often an epoch shows each picture. The method's is 10."""
    epochs: int = Field(default=10, ge=1, le=1000, title="Epochs")
    """Passes over the set, one file each. The method's is 10."""
    rank: int = Field(default=32, ge=1, le=512, title="Rank")
    """Width of the LoRA (network dim)."""
    alpha: float = Field(default=16, gt=0, le=512, title="Alpha")
    """The LoRA's output is scaled by alpha / rank."""
    unet_lr: float = Field(default=1e-4, ge=0, le=1, title="U-Net learning rate")
    """The method's is 1e-4. 0: not trained."""
    text_encoder_lr: float = Field(default=2e-5, ge=0, le=1, title="Text encoder learning rate")
    """The method's is 2e-5. 0: not trained."""
    batch: int = Field(default=1, ge=1, le=256, title="Batch")
    """Pictures a step. The method does not say; 1 was sd-scripts' default, and the learning rates fit it."""
    accumulation: int = Field(default=1, ge=1, le=256, title="Gradient accumulation")
    """Batches that make one step: as a batch that many times as large, in the memory of one. The result is the same. 1:
    off."""
    optimizer: Annotated[
        str,
        AfterValidator(_known_optimizer),
        WithJsonSchema({"type": "string", "enum": list(get_args(OptimizerName))}),  # a form offers these alone
    ] = Field(default="adamw", title="Optimizer")
    """The method does not name one; AdamW is sd-scripts' default. adamw8bit: less memory, needs `pip install
    headcanon[bnb]`. lion: use a third to a tenth of AdamW's learning rates. prodigy: finds the rate itself; set both
    learning rates to 1. adafactor: with the learning rates given here, not its own. Any other of an installed package
    by its class's path, such as "torch.optim.RAdam": in your own recipes and presets only."""
    optimizer_args: tuple[str, ...] = Field(
        default=(), title="Arguments of the optimizer", exclude_if=lambda given: not given
    )
    """What the optimizer's class is told besides its rates and the weight decay, as in sd-scripts: "betas=0.9,0.99".
    What is not given is its package's default."""
    weight_decay: float = Field(default=0.01, ge=0, le=1, title="Weight decay")
    """Share of a weight that a step at learning rate 1 takes off. The method does not say; 0.01 is sd-scripts' default
    for AdamW."""
    scheduler: Literal["constant", "linear", "cosine", "cosine_with_restarts"] = Field(
        default="constant", title="Schedule"
    )
    """How the learning rate falls towards 0 behind the warm-up. The method does not say; constant is sd-scripts'
    default."""
    restarts: int = Field(default=1, ge=1, le=1000, title="Cosines")
    """Of cosine_with_restarts: how often the rate falls to 0. sd-scripts' lr_scheduler_num_cycles."""
    warmup_steps: int = Field(default=0, ge=0, le=100_000, title="Warm-up (steps)")
    """Steps over which the learning rate rises from 0. The method does not say; 0 is sd-scripts' default."""
    max_grad_norm: float = Field(default=1.0, ge=0, le=100, title="Gradient clipping")
    """Largest norm of the gradients. 0: no clipping. 1.0 is sd-scripts' default."""
    min_snr_gamma: float = Field(default=0, ge=0, le=20, title="Min-SNR gamma")
    """Loss weight min(snr, gamma) / snr (Hang et al. 2023). 0: off, as in the method. 5 is the paper's."""
    debiased: bool = Field(default=False, title="Debiased estimation")
    """Loss weight 1 / √snr, for v-prediction 1 / (snr + 1) (Yu et al. 2023). Off in the method."""
    min_timestep: int = Field(default=0, ge=0, le=999, title="First timestep")
    """Noise levels below it are not trained: details are left as the base draws them. 0: all, as in the method.
    sd-scripts' min_timestep."""
    max_timestep: int = Field(default=1000, ge=1, le=1000, title="End of the timesteps")
    """Noise levels from it on are not trained: composition is left as the base draws it. 1000: all, as in the method.
    sd-scripts' max_timestep."""
    loss: Literal["l2", "huber", "smooth_l1"] = Field(default="l2", title="Loss")
    """l2: the squared error, as in the method. huber, smooth_l1: the pseudo-Huber loss, which large errors of single
    places pull less (Khrapov et al. 2024, arXiv:2403.16728), in sd-scripts' two scalings."""
    huber_c: float = Field(default=0.1, gt=0, le=10, title="Huber's c")
    """Errors much larger than c count by their size, much smaller ones by their square. 0.1 is sd-scripts' default."""
    huber_schedule: Literal["snr", "exponential", "constant"] = Field(default="snr", title="Huber's schedule")
    """How c falls with the noise: snr and exponential from 1 at none to huber_c, constant not at all. snr is
    sd-scripts' default."""
    masked_loss: bool = Field(default=False, title="Masked loss")
    """Count the loss only where the screenshot was not transparent, so that the background is not learned. Pictures
    without transparency count whole. Off in the method."""
    prior_preservation: Literal["plain", "teacher"] = Field(default="plain", title="Prior preservation")
    """What regularization pictures teach. plain: they are trained like any others, as in the method (DreamBooth).
    teacher: to draw them as the base model does without the LoRA, so that nothing about them is learned or forgotten;
    takes one more pass through the U-Net for them."""
    prior_loss_weight: float = Field(default=1.0, ge=0, le=10, title="Weight of regularization pictures")
    """Factor on their loss. The method does not say; 1.0 is sd-scripts' default."""
    shuffle_caption: bool = Field(default=False, title="Shuffle captions")
    """Put the tags behind the trigger in a new order at every step. The method does not say; off is sd-scripts'
    default."""
    max_token_length: Literal[75, 150, 225] = Field(default=225, title="Longest caption (tokens)")
    """What comes behind is not trained. Captions of more than 75 tokens, about 20 tags, are read in chunks of 75 as web
    UIs read prompts; shorter ones train as they always did. 225 is usual with sd-scripts (max_token_length)."""
    keep_tokens: int = Field(default=1, ge=0, le=75, title="Keep tokens")
    """Tags at the front that shuffling leaves in place: the trigger. An outfit's words stay behind it."""
    tag_dropout: float = Field(default=0.0, ge=0, lt=1, title="Tag dropout")
    """Share of a caption's tags, keep_tokens excepted, that a step leaves out, drawn for each tag: the trigger then
    stands for more of them. 0: off, as in the method. sd-scripts' caption_tag_dropout_rate."""
    caption_dropout: float = Field(default=0.0, ge=0, le=1, title="Caption dropout")
    """Share of samples, regularization included, trained with an empty caption: no tags, no trigger. What CFG compares
    every prompt with is then trained too, and the LoRA shows a little without its trigger. The method does not say; 0
    is sd-scripts' default."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(default="auto", title="Precision")
    """Of the frozen model while training; the LoRA itself stays fp32. 'auto': bf16 where a GPU has it, fp32 on a
    CPU."""
    gradient_checkpointing: bool = Field(default=False, title="Gradient checkpointing")
    """Compute parts of the model twice instead of keeping them: far less memory, about a third slower, the same
    result."""
    memory_saving: Literal["auto", "off", "offload", "int8"] = Field(
        default="auto", title="Memory saving", exclude_if=lambda saving: saving == "auto"
    )
    """offload: VAE and text encoders leave the card once they have read pictures and captions (text encoders only where
    they are not trained and captions stay as they are); the result is the same. int8: also the frozen U-Net's linear
    layers in 8 bits (`pip install headcanon[bnb]`): SDXL's in 2.9 GB instead of 5.1, nearly the same result. auto: on
    a GPU that does not hold the training as it stands the least that does: offload, then gradient checkpointing, then
    int8; the run and its dry run say which. off: none."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1, title="EMA decay")
    """Save a moving average of the LoRA instead of its last state; this is how much of it stays at each step (rising to
    it: (1 + step) / (10 + step) at first). 0: off, as in the method. 0.999 is usual."""
    save_precision: Literal["fp16", "bf16", "fp32"] = Field(default="fp16", title="Precision of the files")
    """fp16 is what web UIs expect."""
    validation_share: float = Field(default=0.0, ge=0, le=0.5, title="Validation share")
    """Share of the pictures that is not trained but measured: the loss on them behind every epoch, at fixed timesteps
    and noise, stands beside the training's in the report. At least one picture. 0: off, as in the method."""
    seed: int = Field(default=42, ge=0, lt=2**32, title="Seed")
    """Of order, noise, timesteps and the LoRA's first values. The method does not say."""
    checkpoint_minutes: float = Field(default=5, gt=0, le=600, title="Checkpoint every (minutes)")
    """How much work a crash can cost. The state is saved after every epoch as well."""
    network: Network = Network()
    noise: Noise = Noise()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_timestep >= self.max_timestep:
            raise ValueError(
                f"min_timestep = {self.min_timestep} leaves nothing below max_timestep = {self.max_timestep}; lower it"
            )
        if self.min_snr_gamma and self.debiased:
            raise ValueError("min_snr_gamma and debiased are two weights for the same; set one of them to 0 or false")
        if ours := {"lr", "params", "weight_decay"} & self.optimizer_arguments.keys():
            raise ValueError(
                f"optimizer_args: {', '.join(sorted(ours))} is not given here; the rates are unet_lr and "
                "text_encoder_lr, and weight_decay is an option of its own"
            )
        if self.memory_saving == "int8" and self.network.kind == "dora":
            raise ValueError("memory_saving = 'int8' rounds the lengths that a DoRA trains; use 'offload'")
        rates = {rate for rate in (self.unet_lr, self.text_encoder_lr) if rate}
        factors = {factor for factor in self.network.block_factors.values() if factor}
        if self.optimizer == "prodigy" and (len(rates) > 1 or factors - {1.0}):
            raise ValueError(
                "prodigy finds one rate for everything it trains: set unet_lr and text_encoder_lr to 1 (or one of them "
                "to 0), and block_lr to nothing but 0 and 1"
            )
        return self

    @property
    def optimizer_arguments(self) -> Mapping[str, Any]:
        """Its arguments by name, as plain values.

        Raises:
            ValueError: one is not NAME=VALUE, or its value no number, text, true, false or list of these.
        """
        found = {}
        for text in self.optimizer_args:
            name, _, value = (part.strip() for part in text.partition("="))
            try:
                found[name] = literal_eval({"true": "True", "false": "False"}.get(value, value))
            except (ValueError, SyntaxError):
                name = ""
            if not name.isidentifier():
                raise ValueError(
                    f'optimizer_args: {text!r} is no argument; write NAME=VALUE, such as "betas=0.9,0.99" or '
                    '"decouple=True", texts in quotes'
                )
        return found

    @property
    def names_code(self) -> bool:
        """Whether it names a class that is imported: whoever writes it must be who owns the machine."""
        return "." in self.optimizer

    @property
    def trains_word(self) -> bool:
        """Whether a word's vectors are trained, and no LoRA."""
        return False

    @property
    def step_batch(self) -> int:
        """Pictures that one step of the optimizer sees."""
        return self.batch * self.accumulation


class StyleTraining(Training):
    """Stage 1: the style LoRA. Rank 64, alpha 32."""

    inversion: bool = Field(default=False, title="Textual inversion", exclude_if=lambda given: not given)
    """Train no LoRA but a word: vectors in the place of the tokens of [style] identifier, at the text encoder's
    learning rate, while U-Net and text encoder stay as they are (Gal et al. 2022, arXiv:2208.01618). The character is
    trained on the plain base with that word in its captions, so it needs `named = true` and no merge."""

    rank: int = Field(default=64, ge=1, le=512, title="Rank")
    """Width of the LoRA (network dim). The method's is 64."""
    alpha: float = Field(default=32, gt=0, le=512, title="Alpha")
    """The LoRA's output is scaled by alpha / rank. The method's is 32."""

    @property
    def trains_word(self) -> bool:
        """Whether a word's vectors are trained, and no LoRA."""
        return self.inversion


class CharacterTraining(Training):
    """Stage 3: the character LoRA. Rank 32, alpha 16."""

    rank: int = Field(default=32, ge=1, le=512, title="Rank")
    """Width of the LoRA (network dim). The method's is 32."""
    alpha: float = Field(default=16, gt=0, le=512, title="Alpha")
    """The LoRA's output is scaled by alpha / rank. The method's is 16."""
    start: Literal["new", "last"] = Field(default="new", title="Start", exclude_if=lambda start: start == "new")
    """Where training begins. new: with a LoRA that changes nothing, as in the method. last: with the version of this
    character that was published last, for retraining on new screenshots in fewer epochs; rank, alpha, kind, what is
    trained and the base must be the same. Without an earlier version: new."""


class Regularization(Options):
    """Stage 1's pictures beside the character's, so that what they share is not learned as the character."""

    use: bool = Field(default=True, title="Use")
    """The method uses stage 1's pictures."""
    repeats: int = Field(default=1, ge=1, le=1000, title="Repeats")
    """1 in the method. The set is repeated until it is as large as the character's, so this hardly matters."""


class Merge(Options):
    """Stage 2: the style LoRA into the base."""

    use: bool = Field(default=True, title="Use")
    """Train the character on the merged model, as the method does. false: straight on the base, to compare; no style
    LoRA is trained then."""
    weight: float = Field(default=1.0, ge=-4, le=4, title="Strength")
    """Factor on the LoRA. The method's is 1.0."""
