"""Every option, one frozen model per step. Defaults are the method's own numbers (docs/method.md).

Where the method leaves a number open, the field's description says what was chosen and why. The models are closed: an
unknown key is an error (`recipe_file.py`). There is no Optional, no union and no dict, so that the same
models make a readable form in Prefect's UI: an empty text or a zero means "not set".
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

Composition = Literal["close-up", "portrait", "upper_body", "cowboy_shot"]
COMPOSITIONS: tuple[Composition, ...] = get_args(Composition)

_TRIGGER = r"^[^\s,()\\:<>|\[\]]+$"
_NAME = r"^[^\\/:*?\"<>|\x00-\x1f.][^\\/:*?\"<>|\x00-\x1f]*$"


class Options(BaseModel):
    """A closed, frozen set of options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Predicts = Annotated[
    Literal["auto", "epsilon", "v_prediction"],
    Field(
        title="Prediction",
        description="What the base's U-Net predicts: the noise (epsilon) or v (Salimans and Ho 2022). 'auto': as the "
        "model says, by a folder's scheduler config, a file's v_pred tensor or its modelspec metadata; SD2 files by "
        "its weights; else epsilon. Set it for a model that does not say so: its samples are noise or flat colour.",
    ),
]
_ZeroTerminalSnr = Annotated[
    bool,
    Field(
        title="Zero terminal SNR",
        description="Rescale the noise schedule so that the last timestep is pure noise (Lin et al. 2023). For "
        "v-prediction models trained that way. false: only where the model says so, by a folder's scheduler config "
        "or a file's ztsnr tensor.",
    ),
]


class Process(Options):
    """The diffusion process of a base model, as far as the recipe tells it."""

    prediction: _Predicts = "auto"
    zero_terminal_snr: _ZeroTerminalSnr = False


class Base(Options):
    """The base model that the finished LoRA is for: SD1.x, SD2.x or SDXL, from a file, a folder or a hub repository."""

    model: str = Field(
        min_length=1,
        title="Base model",
        description="A .safetensors file in the original layout, a diffusers folder, or a hub repository such as "
        "owner/name. Of a merge model A+B rather take the parent A: the method says it takes the style better.",
    )
    revision: str = Field(
        default="",
        title="Revision",
        description="For a hub repository: the commit to use (40 hexadecimal digits), so that the same recipe "
        "means the "
        "same bytes next year. Must be set for a repository, must be empty for a path.",
    )
    clip_skip: int = Field(
        default=1,
        ge=1,
        le=12,
        title="Clip skip",
        description="Which layer of the text encoder is read, counted from the end; 1 is the last. The method does not "
        "say; 1 is sd-scripts' default. Many anime models were trained with 2. SDXL always reads the last layer but "
        "one of both its text encoders, as in sd-scripts and web UIs: there 1 and 2 mean the same.",
    )
    prediction: _Predicts = "auto"
    zero_terminal_snr: _ZeroTerminalSnr = False

    @model_validator(mode="after")
    def _epsilon_keeps_some_signal(self) -> Self:
        if self.prediction == "epsilon" and self.zero_terminal_snr:
            raise ValueError(
                "zero_terminal_snr needs v-prediction: where only noise is left, predicting the noise teaches nothing; "
                "set prediction to 'v_prediction' or 'auto'"
            )
        return self

    @property
    def process(self) -> Process:
        """What is told of the diffusion process."""
        return Process(prediction=self.prediction, zero_terminal_snr=self.zero_terminal_snr)

    @property
    def reading(self) -> tuple[int, Process]:
        """How the model is read: clip skip, and what is told of the diffusion process."""
        return self.clip_skip, self.process


class Tagger(Options):
    """The tagger that writes the captions and reads the samples: any model in WD14's format."""

    model: str = Field(
        default="SmilingWolf/wd-v1-4-swinv2-tagger-v2",
        min_length=1,
        title="Tagger",
        description="A folder with model.onnx and selected_tags.csv, or a hub repository. The method's own is the "
        "WD14 swin-v2.",
    )
    revision: str = Field(
        default="",
        title="Revision",
        description="For a hub repository: the commit to use (40 hexadecimal digits). Must be set for a repository.",
    )
    threshold: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        title="Threshold",
        description="Tags at or above this probability go into the caption. 0.5 is the method's, for the v2 swin; "
        "with a v3 swin 0.35 keeps about the same tags (its precision = recall point is .265, the v2's .377).",
    )
    character_threshold: float = Field(
        default=0,
        ge=0,
        lt=1,
        title="Threshold for names",
        description="For tags that name a character. 0: the same as the other threshold, as in the method.",
    )
    tag_thresholds: tuple[str, ...] = Field(
        default=(),
        title="Thresholds of single tags",
        description='Such as "nose = 0.15": goes before the others for this tag.',
    )
    mcut: bool = Field(
        default=False,
        title="MCut",
        description="Cut each picture's tags at the widest gap between its scores instead of at a threshold (MCut; "
        "Largeron, Moulin and Géry 2012). Single tags' thresholds still count.",
    )


class Preprocess(Options):
    """From screenshots as a 3D creator writes them to square pictures on white."""

    size: int = Field(
        default=1024,
        ge=64,
        le=4096,
        title="Size (px)",
        description="Side of the square pictures. The method's is 1024.",
    )
    alpha: Literal["detect", "straight", "premultiplied"] = Field(
        default="detect",
        title="Transparency",
        description="How the screenshots store half-transparent pixels. 'detect' looks at every file: Honey Select 2 "
        "writes premultiplied, Blender straight. The wrong one gives hair a dark halo.",
    )
    background: str = Field(
        default="#ffffff",
        pattern=r"^#[0-9a-fA-F]{6}$",
        title="Background",
        description="Colour behind transparent pixels and of the padding. The method's is white.",
    )
    bad_pictures: Literal["stop", "leave_out"] = Field(
        default="stop",
        title="Pictures that cannot be used",
        description="'stop': end the run and name them, before anything is trained. 'leave_out': go on without "
        "them; the "
        "report gives the reason for each.",
    )
    min_source_px: int = Field(
        default=256,
        ge=16,
        le=4096,
        title="Smallest source (px)",
        description="Pictures whose longer side is shorter than this are left out: enlarging them teaches blur.",
    )
    near_duplicates: Literal["flag", "leave_out"] = Field(
        default="flag",
        title="Near duplicates",
        description="'flag': name the pair and keep both. 'leave_out': keep the first of each group only.",
    )
    duplicate_bits: int = Field(
        default=16,
        ge=0,
        le=128,
        title="Near duplicates differ by (bits)",
        description="Two pictures whose perceptual hashes differ by at most this many of 256 bits are near "
        "duplicates. One pose turned by 2° differs by 12 to 30 bits, two poses by about 110.",
    )
    soft_pictures: Literal["flag", "leave_out"] = Field(
        default="flag",
        title="Soft pictures",
        description="'flag': name them with the figure and keep them. 'leave_out': go on without them.",
    )
    soft_above: float = Field(
        default=0.65,
        gt=0,
        le=1,
        title="Soft above",
        description="Blur (Crété et al. 2007) from 0, sharp, to 1, blurred: how little a picture loses when it is "
        "blurred once more. Renders have 0.3 to 0.45, out of focus by 2 px 0.75.",
    )


class ShotPlan(Options):
    """How many pictures of each composition a set should have. One that is planned and has none stops a run."""

    close_up: int = Field(
        default=1,
        ge=0,
        le=1000,
        validation_alias=AliasChoices("close-up", "close_up"),
        title="Close-up",
        description="Face only. The method's is 1.",
    )
    portrait: int = Field(
        default=11, ge=0, le=1000, title="Portrait", description="Down to the shoulders. The method's is 11."
    )
    upper_body: int = Field(
        default=18, ge=0, le=1000, title="Upper body", description="Down to the bust. The method's is 18."
    )
    cowboy_shot: int = Field(
        default=8, ge=0, le=1000, title="Cowboy shot", description="Down to the thighs. The method's is 8."
    )

    def count(self, composition: Composition) -> int:
        """Pictures planned of one composition; 0: none."""
        return int(getattr(self, composition.replace("-", "_")))


class Downscale(Options):
    """The small copies beside the originals, trained at their own size."""

    size: int = Field(
        default=384,
        ge=0,
        le=2048,
        multiple_of=8,
        title="Size of the copies (px)",
        description="384 in the method, beside 512 for the originals. They are trained at this size, never "
        "enlarged. 0: no copies.",
    )
    repeats: int = Field(default=2, ge=1, le=1000, title="Repeats", description="How often an epoch shows each copy.")


class Captions(Options):
    """The six caption edits (see the rule file for what is the character's)."""

    rules: str = Field(
        default="",
        title="Rule file",
        description="A captions.toml beside the recipe. Empty: the rules below, with every family of the taxonomy that "
        "describes a body removed.",
    )
    memorize: tuple[str, ...] = Field(
        default=(),
        title="Memorize",
        description="Tags the character *is*, such as blonde_hair or cat_ears. The whole family goes (every hair "
        "colour), "
        "so that it binds to the trigger. Empty: all families of the body that the taxonomy knows.",
    )
    prune: bool = Field(
        default=True,
        title="Prune",
        description="Take out what the character is: 'memorize' and 'outfit'. false: these tags stay in the captions "
        "and the trigger learns little, to compare.",
    )
    outfit: tuple[str, ...] = Field(
        default=(), title="Outfit", description="Clothes that belong to the character, removed like its traits."
    )
    drop: tuple[str, ...] = Field(default=(), title="Drop", description="Tags that do not belong on any picture.")
    add: tuple[str, ...] = Field(
        default=("realistic",),
        title="Add",
        description="Tags put on every picture to soak up the 3D look. The method's: realistic.",
    )
    face: tuple[str, ...] = Field(
        default=("nose", "lips"),
        title="Add where a face shows",
        description="Tags for pictures with a visible face. The method's: nose, lips.",
    )


class Set(Options):
    """A folder of screenshots."""

    images: str = Field(
        min_length=1, title="Screenshots", description="A folder; sub-folders are read too. It is never written to."
    )


class Style(Set):
    """Stage 1's screenshots: a character very different from yours, the same compositions and angles."""

    identifier: str = Field(
        default="hcstyle",
        pattern=_TRIGGER,
        title="Identifier",
        description="The rare word that stands for the style character (DreamBooth's identifier).",
    )
    class_word: str = Field(
        default="1girl",
        min_length=1,
        title="Class",
        description="What the style character is, in the base model's words (DreamBooth's class): 1girl, 1boy, …",
    )


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


class Sampling(Options):
    """Pictures drawn to check each stage and to choose the epoch."""

    prompts: tuple[str, ...] = Field(
        default=(
            "{trigger}, 1girl, solo, upper body, smile, outdoors",
            "{trigger}, 1girl, solo, portrait, white background",
            "{trigger}, 1girl, solo, cowboy shot, night",
        ),
        min_length=1,
        title="Prompts",
        description="{trigger} stands for the character's trigger. They should name no trait: the LoRA has to "
        "bring those.",
    )
    style_prompts: tuple[str, ...] = Field(
        default=(
            "1girl, solo, upper body, outdoors",
            "1girl, solo, portrait, indoors",
            "1boy, solo, cowboy shot, night",
        ),
        min_length=1,
        title="Prompts of the merge check",
        description="Prompts without a trigger: the merged model is meant to draw the style character on white "
        "all the same.",
    )
    negative: str = Field(
        default="lowres, bad anatomy, worst quality, low quality",
        title="Negative prompt",
        description="What not to draw.",
    )
    seeds: tuple[int, ...] = Field(
        default=(1, 2),
        min_length=1,
        title="Seeds",
        description="Every prompt is drawn with every seed; the same seed gives the same noise for every epoch.",
    )
    steps: int = Field(default=25, ge=1, le=200, title="Steps", description="Denoising steps a picture.")
    cfg: float = Field(default=7.0, ge=1, le=30, title="CFG scale", description="How strongly the prompt is followed.")
    scheduler: Literal["euler_a", "dpmpp_2m_karras", "ddim"] = Field(
        default="dpmpp_2m_karras", title="Sampler", description="Euler a, DPM++ 2M Karras or DDIM."
    )
    width: int = Field(default=512, ge=64, le=2048, multiple_of=8, title="Width (px)", description="512 in the method.")
    height: int = Field(
        default=768, ge=64, le=2048, multiple_of=8, title="Height (px)", description="768 in the method."
    )
    weight: float = Field(
        default=1.0, ge=0, le=4, title="LoRA weight", description="Strength at which epochs are drawn and judged."
    )
    batch: int = Field(default=4, ge=1, le=64, title="Batch", description="Pictures drawn at once.")


class Judging(Options):
    """How the epoch is chosen."""

    max_leak: float = Field(
        default=0.25,
        ge=0,
        le=1,
        title="Largest leak",
        description="An epoch whose samples show more of the 3D look than this, above the base model's own, is "
        "not chosen. "
        "Read by the tagger as the mean rise of realistic, 3d, nose and lips.",
    )


class Publish(Options):
    """Where the finished LoRA goes."""

    licence: str = Field(
        default="",
        title="Licence",
        description="For the model card: what others may do with the file. Empty: not stated.",
    )


class Runtime(Options):
    """Where work happens. Nothing here changes what comes out, so nothing here is part of a cache key."""

    out: str = Field(
        default="out", title="Output folder", description="The LoRA, its epochs, samples and report go to OUT/NAME."
    )
    store: str = Field(
        default=".headcanon", title="Store", description="Folder of everything that was computed, shared by all runs."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", title="Device", description="'auto' takes a GPU when there is one."
    )


class Recipe(Options):
    """The whole method for one character."""

    name: str = Field(
        min_length=1,
        max_length=80,
        pattern=_NAME,
        title="Name",
        description="Of the LoRA file. It must not contain / or \\.",
    )
    trigger: str = Field(
        default="",
        pattern=r"^$|" + _TRIGGER,
        title="Trigger",
        description="The word that calls the character; best one that no model knows. Empty: made from the name.",
    )
    base: Base
    tagger: Tagger = Tagger()
    style: Style
    character: Set
    preprocess: Preprocess = Preprocess()
    plan: ShotPlan = ShotPlan()
    captions: Captions = Captions()
    downscale: Downscale = Downscale()
    style_training: StyleTraining = StyleTraining()
    merge: Merge = Merge()
    regularization: Regularization = Regularization()
    character_training: CharacterTraining = CharacterTraining()
    sampling: Sampling = Sampling()
    judging: Judging = Judging()
    publish: Publish = Publish()
    runtime: Runtime = Runtime()

    @field_validator("base", "character", "tagger", mode="before")
    @classmethod
    def _short_forms(cls, value: Any, info: Any) -> Any:
        """`base = "model.safetensors"` is short for `[base] model = …`, likewise a folder for a set."""
        if isinstance(value, str):
            return {"images" if info.field_name == "character" else "model": value}
        return value

    @field_validator("style", mode="before")
    @classmethod
    def _short_style(cls, value: Any) -> Any:
        return {"images": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _trigger_from_name(self) -> Self:
        if self.trigger:
            return self
        made = "hc" + "".join(letter for letter in self.name.lower() if letter.isalnum())
        return self.model_copy(update={"trigger": made})
