"""Samples, the checks, the choice of the epoch, and where the LoRA goes."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from lora_core.recipe.options import OnDisk, Options

Mode = Literal["auto", "ask", "off"]
Scheduler = Literal["auto", "euler_a", "euler", "dpmpp_2m_karras", "dpmpp_2m", "ddim"]
_Weight = Annotated[float, Field(gt=0, le=4)]

_NOT_READ = (
    (r"<(lora|lyco|hypernet):[^>]*>", "a call", "leave it out, and name the LoRA with --lora or train it"),
    (r"\[[^\[\]]*:\s*[\d.]+\s*\]", "prompt editing", r"write one prompt for all steps, and \[ for a bracket"),
    (r"\[[^\[\]]*\|[^\[\]]*\]", "an alternation", r"write one prompt for all steps, and \[ for a bracket"),
    (r"\bAND\b", "a composition", "write two prompts, or `and` in small letters"),
)
"""Patterns, what they are, and what to do."""


class Sampling(Options):
    """Pictures drawn to check each stage and to choose the epoch."""

    prompts: tuple[str, ...] = Field(
        default=(
            "{trigger}, 1girl, solo, upper body, smile, outdoors",
            "{trigger}, 1girl, solo, portrait, white background",
            "{trigger}, 1girl, solo, cowboy shot, night",
            "{trigger}, 1girl, solo, upper body, indoors, window, closed mouth",
            "{trigger}, 1girl, solo, from side, forest, white dress",
            "{trigger}, 1girl, solo, portrait, beach, open mouth",
        ),
        min_length=1,
        title="Prompts",
    )
    """{trigger} stands for the character's trigger, {outfit} for the words of an outfit: such a prompt is drawn once
    for each; without one, the first prompt is drawn with every outfit too. Emphasis, BREAK and length as in A1111:
    `(word:1.2)`, `[word]`, `\\(` for a bracket. They should name no trait: the LoRA has to bring those. Name places,
    framings and clothes that the screenshots do not have: what becomes of them is measured. Six with two seeds each are
    about the fewest of which the choice is not chance (docs/judging.md)."""
    style_prompts: tuple[str, ...] = Field(
        default=(
            "1girl, solo, upper body, smile, outdoors, day",
            "1girl, solo, portrait, indoors, looking at viewer",
            "1boy, solo, cowboy shot, night, city",
            "1girl, solo, full body, school uniform, classroom",
            "1boy, solo, upper body, suit, office",
            "1girl, solo, beach, swimsuit, sky",
            "1girl, solo, blonde hair, ponytail, red dress, garden",
            "1girl, solo, black hair, short hair, glasses, library",
            "1boy, solo, white hair, armor, castle",
            "1girl, solo, kimono, cherry blossoms, from side",
            "1girl, solo, forest, elf, bow \\(weapon\\)",
            "1girl, solo, snow, winter coat, scarf",
            "1boy, solo, hoodie, street, rain",
            "1girl, solo, maid, cafe, holding tray",
            "1girl, solo, close-up, crying",
            "1girl, solo, from behind, sunset, ocean",
            "1boy, solo, portrait, angry, black background",
            "1girl, solo, sitting, chair, window, reading",
            "1girl, solo, running, track suit, stadium",
            "1girl, solo, witch hat, starry sky, from below",
        ),
        min_length=1,
        title="Prompts of the merge check",
    )
    """Prompts without a trigger, each drawn once: the merged model is meant to draw the style character on white all
    the same. The more they differ, the more the check is worth."""
    template: str = Field(default="{prompt}", pattern=r"\{prompt\}", title="Template")
    """What stands around every prompt that is drawn, {prompt} in its place as in A1111's styles: the base's own quality
    words, such as "masterpiece, best quality, {prompt}" (docs/bases.md). Captions and metrics know nothing of it."""
    negative: str = Field(default="lowres, bad anatomy, worst quality, low quality", title="Negative prompt")
    """What not to draw."""
    seeds: tuple[int, ...] = Field(default=(1, 2), min_length=1, title="Seeds")
    """Every prompt is drawn with every seed; the same seed gives the same noise for every epoch and weight. More seeds
    make the intervals narrower; diversity needs two."""
    weights: tuple[_Weight, ...] = Field(default=(0.6, 0.8, 1.0), min_length=1, title="LoRA weights")
    """Strengths at which every epoch is drawn and judged. Each costs as many pictures as the first."""
    steps: int = Field(default=25, ge=1, le=200, title="Steps")
    """Denoising steps a picture."""
    cfg: float = Field(default=7.0, ge=1, le=30, title="CFG scale")
    """How strongly the prompt is followed."""
    cfg_rescale: float = Field(default=0.0, ge=0, le=1, title="CFG rescale")
    """How far guidance may not make latents more contrasted than the prompt alone does (Lin et al. 2023): for
    v-prediction bases, whose pictures burn at high CFG. 0: off. 0.7 is the paper's; ComfyUI's RescaleCFG."""
    scheduler: Scheduler = Field(default="auto", title="Sampler")
    """Euler a, Euler, DPM++ 2M Karras, DPM++ 2M or DDIM, as web UIs call them. auto: Euler with
    CFG rescale (0.7 unless set) where the base has zero terminal SNR, DPM++ 2M Karras elsewhere."""
    width: int = Field(default=512, ge=64, le=2048, multiple_of=8, title="Width (px)")
    """512 in the method."""
    height: int = Field(default=768, ge=64, le=2048, multiple_of=8, title="Height (px)")
    """768 in the method."""
    hires: float = Field(default=1.0, ge=1, le=4, title="Hires factor")
    """Enlarge every picture by this and draw it over once more, as web UIs' hires fix with the Lanczos upscaler: with
    as many steps again. 1: off, since 1.5, which the method's final pictures have, more than triples the time."""
    hires_denoise: float = Field(default=0.5, gt=0, le=1, title="Denoising of the hires pass")
    """How much of the enlarged picture is drawn anew. 0.5 changes details, more changes shapes."""
    batch: int = Field(default=4, ge=1, le=64, title="Batch")
    """Pictures drawn at once; halved where memory does not hold so many."""
    while_training: int = Field(default=0, ge=0, le=64, exclude=True, title="Pictures while training")
    """How many pictures of every epoch of the character are drawn as soon as it is saved, at the last of the weights,
    and of the base: into the training's folder of curves, for the studio page. They are the first of those that are
    drawn of every epoch in any case, so they cost loading the base once an epoch, and memory for it. The LoRA stays
    the same to the byte. 0: none."""
    transfer: Annotated[tuple[str, ...], OnDisk(or_repository=True)] = Field(default=(), title="Further bases")
    """The chosen epoch is drawn on these models too, since it is meant for others than the one it was trained on:
    files, diffusers folders, or hub repositories as owner/name@COMMIT."""
    transfer_vae: Annotated[str, OnDisk()] = Field(
        default="", title="VAE of further bases", exclude_if=lambda given: not given
    )
    """A VAE's .safetensors file, for those of them that have none of their own. Empty: they all have one."""

    @field_validator("prompts", "style_prompts", "negative", "template")
    @classmethod
    def _is_read_here(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for prompt in (value,) if isinstance(value, str) else value:
            for pattern, meant, hint in _NOT_READ:
                if found := re.search(pattern, prompt):
                    raise ValueError(f"{found[0]!r} is {meant} of web UIs, which is not read here; {hint}")
        return value

    def whole(self, prompt: str) -> str:
        """The prompt as it is drawn, with what stands around every prompt."""
        return self.template.replace("{prompt}", prompt)

    def worn(self, outfits: tuple[str, ...]) -> Self:
        """With the prompts that show each of the character's outfits, by their words."""
        if not outfits:
            return self
        asked = self.prompts
        if not any("{outfit}" in prompt for prompt in asked):
            asked = (*asked, asked[0].replace("{trigger}", "{trigger}, {outfit}", 1))
        drawn = dict.fromkeys(prompt.replace("{outfit}", one) for prompt in asked for one in outfits)
        return self.model_copy(update={"prompts": tuple(drawn)})

    @property
    def on_one_base(self) -> Self:
        """Without the further bases, which change no picture of any base."""
        return self.model_copy(update={"transfer": (), "transfer_vae": ""})

    def square(self, resolution_px: int) -> Self:
        """How redrawn pictures are drawn: as samples are, but of the size that they are trained at."""
        return self.on_one_base.model_copy(update={"width": resolution_px, "height": resolution_px, "hires": 1.0})


class Gates(Options):
    """Checks between stages: 'auto' ends the run when a bound is missed, 'ask' asks a person, 'off' only tells."""

    style: Mode = Field(default="auto", title="After stage 1")
    """Does the style LoRA on the base draw the style character on white?"""
    style_share: float = Field(default=0.75, ge=0, le=1, title="Least share after stage 1")
    """Of pictures in which the tagger sees at least half of what it sees in the style screenshots: their character
    (unless their captions say it), white, and their look."""
    merge: Mode = Field(default="auto", title="After stage 2")
    """Does the merged model draw only that, whatever the prompt? And does it equal base + LoRA?"""
    merge_share: float = Field(default=0.75, ge=0, le=1, title="Least share after stage 2")
    """As after stage 1, over the prompts of the merge check. The method wants all of them."""
    captions: Mode = Field(default="auto", title="Captions")
    """Do the captions hold to their rules (`headcanon caption --check`)?"""
    epoch: Mode = Field(default="auto", title="After stage 3")
    """Is at least one epoch within all bounds of [judging]?"""
    redraw: Mode = Field(default="auto", title="After redrawing")
    """Do enough of the redrawn pictures show every trait, and nothing of the 3D look? 'ask' shows them, and a person
    takes pictures out."""
    successor: Mode = Field(default="auto", title="Before a further version")
    """Is it not worse than the version published last? The bounds are in [publish]."""
    wait_minutes: int = Field(default=1440, ge=1, le=100_000, title="Wait for an answer (minutes)")
    """How long a run that asks stays open in Prefect before it fails. Finished work stays cached."""


def _is_empty(value: str) -> bool:
    return not value


class Judging(Options):
    """How the epoch and the weight are chosen."""

    max_leak: float = Field(default=0.25, ge=0, le=1, title="Largest leak")
    """An epoch whose samples may have come further than this on the way from the base's own pictures (0) to the
    screenshots (1) is not chosen: the upper end of the 95 % interval counts. Measured by the look words that the tagger
    sees in the screenshots, of realistic, 3d, nose, lips: all together, or the one that surely says more. Where it
    hardly sees it, by the classifier; where neither does, by the embedder."""
    max_background: float = Field(default=0.25, ge=0, le=1, title="Largest leak of the background")
    """Mean rise, over the base's own pictures, of white and simple backgrounds where the prompt asks for
    another one."""
    max_habits: float = Field(default=0.25, ge=0, le=1, title="Largest leak of framing and pose")
    """Mean rise of the dataset's bias: framings and poses that at least 4 in 10 screenshots have and the prompt does
    not ask for."""
    max_copying: float = Field(default=0.1, ge=0, le=1, title="Largest share of copies")
    """Samples that are nearly one of the screenshots it was trained on."""
    min_adherence: float = Field(default=0.7, ge=0, le=1, title="Least prompt adherence (share of the base's)")
    """An epoch that follows prompts less than this share of how the base alone does is not chosen: it is burnt."""
    min_diversity: float = Field(default=0.5, ge=0, le=1, title="Least diversity (share of the base's)")
    """The same for how much two seeds of a prompt differ. Needs two seeds."""
    copy_bits: int = Field(default=32, ge=0, le=128, title="A copy differs by (bits)")
    """At most so many of a perceptual hash's 256 bits. One pose turned by 2° differs by 12 to 30, two poses before
    white by about 100, unrelated pictures by 128."""
    epoch: int = Field(default=0, ge=0, title="Epoch")
    """Take this one, whatever the metrics are. 0: by the rule."""
    weight: float = Field(default=0, ge=0, le=4, title="Weight")
    """Take this one, one of the sampled weights. 0: by the rule."""
    classifier: Annotated[str, OnDisk()] = Field(default="", title="Auxiliary classifier")
    """A folder with model.onnx and meta.json (a list `labels`) of an image classifier, such as
    deepghs/anime_classification's, whose class below is a second measure of the look: without a bound, unless no look
    word sees it well; then it measures the leak. Empty: none."""
    classifier_label: str = Field(default="3d", min_length=1, title="Class")
    """The classifier's class that stands for the 3D look."""
    embedder: Annotated[str, OnDisk()] = Field(default="", title="Embedder")
    """An image encoder as an ONNX file, or a folder with one, such as the vision_model.onnx of CLIP: a second measure
    of copying, under the same largest share, and of similarity to the screenshots, without a bound. Empty: none."""
    copy_cosine: float = Field(default=0.95, ge=0, le=1, title="A copy is as near as (cosine)")
    """To a screenshot, by the embedder. It depends on the embedder: look at the nearest pair that the report names, and
    set it above what you would not call a copy."""
    character_model: Annotated[str, OnDisk()] = Field(default="", exclude_if=_is_empty, title="Character model")
    """A folder with CCIP as deepghs/ccip_onnx has it, such as ccip-caformer-24-randaug-pruned (model_feat.onnx,
    model_metrics.onnx, metrics.json): whether samples show the character of the screenshots counts in identity like one
    more trait, and is reported. Empty: the tags alone."""

    @property
    def without_place(self) -> Self:
        """Without where its models lie: what they are decides what comes out."""
        return self.model_copy(update={name: "" for name, _ in self.on_disk()})

    @property
    def of_pictures(self) -> Self:
        """What says of a single picture whether it is a copy, and which class is the look, alone."""
        own = type(self)(copy_bits=self.copy_bits)
        return own.model_copy(update={"classifier_label": self.classifier_label}) if self.classifier else own


class Publish(Options):
    """Where the finished LoRA goes."""

    licence: str = Field(default="", title="Licence")
    """For the model card: what others may do with the file. Empty: not stated."""
    version: str = Field(
        default="", pattern=r"^$|^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9_-])?$", max_length=40, title="Version"
    )
    """Such as v2: the file is called NAME-v2 and goes to a folder of that name, so that an earlier one stays.
    `headcanon run --as v2` sets it. Trains nothing again."""
    worse_identity: float = Field(default=0.05, ge=0, le=1, title="Identity may fall by")
    """A further version is published when its identity is not lower than the last one's by more than this, or when the
    two intervals overlap."""
    worse_leak: float = Field(default=0.05, ge=0, le=1, title="Leak may rise by")
    """The same for the look, the background, framing and pose, and the share of copies."""
    repository: str = Field(default="", pattern=r"^$|^[\w.-]+/[\w.-]+$", title="Hub repository")
    """owner/name on the Hugging Face hub, made if it does not exist. The published folder is pushed there without
    epochs, checks and report, which show the screenshots. Empty: nothing leaves this machine."""
    private: bool = Field(default=True, title="Private")
    """Of a repository that is made."""
    token_block: str = Field(default="", title="Prefect secret block")
    """Name of the block that holds the hub's token. Empty: HF_TOKEN of the environment."""
