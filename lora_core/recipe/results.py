"""Samples, the choice of the epoch, and where the LoRA goes."""

from typing import Literal

from pydantic import Field

from lora_core.recipe.options import Options


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
