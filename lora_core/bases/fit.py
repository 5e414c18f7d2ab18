"""Numbers of a recipe that do not fit its base: what, why, and what to write. Nothing here ends a run."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lora_core.bases.lineage import Lineage
from lora_core.bases.presets import BasePreset
from lora_core.diffusion.source import Source
from lora_core.recipe import Recipe

_PONY_WORDS, _BOORU_WORDS = ("score_",), ("masterpiece", "best quality")
_LEAST_TRAINED, _LEAST_COPIES = 0.75, 0.5
_DRAWN_AREA = (0.6, 1.75)
_V_MOST_CFG = 6.0
_LATENT_PX = 8


class Misfit(NamedTuple):
    """A number that does not fit."""

    option: str
    """SECTION.OPTION."""
    value: str
    reason: str
    write: str
    """The line of TOML that fits."""

    @property
    def advice(self) -> str:
        """Why it does not fit, and what to write."""
        return f"{self.reason}; write {self.write} under [{self.option.rpartition('.')[0]}]"

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.option} = {self.value}: {self.advice}"


def misfits(recipe: Recipe, lineage: Lineage) -> tuple[Misfit, ...]:
    """What does not fit. Where the family was only assumed, what hangs on it is left out."""
    return tuple(found for rule in _RULES for found in rule(recipe, lineage))


def _prediction(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    if recipe.base.prediction == "epsilon" and lineage.source.prediction == "v_prediction":
        reason = "the model says itself that it predicts v, and read as epsilon it draws noise"
        yield Misfit("base.prediction", '"epsilon"', reason, 'prediction = "auto"')


def _clip_skip(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    fits, got = lineage.preset.sections.get("base", {}).get("clip_skip", 1), recipe.base.clip_skip
    if lineage.source.architecture == "sd1" and not lineage.assumed and got != fits:
        layer = "the last layer but one" if fits == 2 else "the last layer"
        reason = f"{lineage.preset.title} was trained with {layer} of the text encoder"
        yield Misfit("base.clip_skip", str(got), reason, f"clip_skip = {fits}")


def _resolution(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    fits, what = own_px(lineage.preset, lineage.source), lineage.preset.title
    for section in _trainings(recipe):
        if (got := getattr(recipe, section).resolution) < _LEAST_TRAINED * fits:
            reason = f"{what} draws at {fits} px, and what it learns small it draws coarse"
            yield Misfit(f"{section}.resolution", str(got), reason, f"resolution = {fits}")
    copies = scaled(lineage.preset, lineage.source, lineage.preset.sections["downscale"]["size"])
    if 0 < (got := recipe.downscale.size) < _LEAST_COPIES * fits:
        reason = f"beside {fits} px pictures, copies that small teach a look of their own"
        yield Misfit("downscale.size", str(got), reason, f"size = {copies}")


def _text_encoders(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    if lineage.source.architecture != "sdxl":
        return
    for section in _trainings(recipe):
        if got := getattr(recipe, section).text_encoder_lr:
            reason = "SDXL has two text encoders, and sd-scripts advises to train neither"
            yield Misfit(f"{section}.text_encoder_lr", f"{got:g}", reason, "text_encoder_lr = 0")


def _noise(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    if not _zero_terminal(recipe, lineage):
        return
    for section in _trainings(recipe):
        noise = getattr(recipe, section).noise
        for name, got in (("offset", noise.offset), ("multires_iterations", noise.multires_iterations)):
            if got:
                reason = "with zero terminal SNR dark and light are learned as they are; this is for models that can't"
                yield Misfit(f"{section}.noise.{name}", f"{got:g}", reason, f"{name} = 0")


def _size(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    drawn, own = recipe.sampling, own_px(lineage.preset, lineage.source)
    share = drawn.width * drawn.height / own**2
    if _DRAWN_AREA[0] <= share <= _DRAWN_AREA[1]:
        return
    happens = "draws coarse and cut" if share < 1 else "repeats bodies"
    reason = f"{lineage.preset.title} was trained at {own}×{own} px and {happens} at that size"
    width, height = drawn_px(lineage)
    write = f"width = {width} and height = {height}"
    yield Misfit("sampling.width", f"{drawn.width} × {drawn.height}", reason, write)


def _sampler(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    if not _zero_terminal(recipe, lineage):
        return
    fits = lineage.preset.sections["sampling"]["scheduler"]
    if recipe.sampling.scheduler.startswith("dpmpp"):
        reason = "with zero terminal SNR its steps go where there is nothing but noise"
        yield Misfit("sampling.scheduler", f'"{recipe.sampling.scheduler}"', reason, f'scheduler = "{fits}"')
    rescaled = recipe.sampling.cfg_rescale or recipe.sampling.scheduler == "auto"
    if recipe.sampling.cfg > _V_MOST_CFG and not rescaled:
        fits = lineage.preset.sections["sampling"]["cfg"]
        reason = "v-prediction with zero terminal SNR burns colours at that scale"
        yield Misfit("sampling.cfg", f"{recipe.sampling.cfg:g}", reason, f"cfg = {fits:g}")


def _quality(recipe: Recipe, lineage: Lineage) -> Iterator[Misfit]:
    if lineage.assumed:
        return
    template, preset = recipe.sampling.template, lineage.preset
    foreign = _BOORU_WORDS if preset.name == "pony" else _PONY_WORDS
    if any(word in template for word in foreign):
        reason = f"{preset.title} was not trained with these quality words"
        fits = preset.sections["sampling"]["template"]
        yield Misfit("sampling.template", f'"{template}"', reason, f'template = "{fits}"')


_RULES: tuple[Callable[[Recipe, Lineage], Iterator[Misfit]], ...] = (
    _prediction, _clip_skip, _resolution, _text_encoders, _noise, _size, _sampler, _quality,
)  # fmt: skip


def _trainings(recipe: Recipe) -> tuple[str, ...]:
    return ("style_training", "character_training") if recipe.trains_style else ("character_training",)


def own_px(preset: BasePreset, source: Source) -> int:
    """The side a base was trained at: as its folder's config says (in latents of 8 px), else its preset's."""
    said = source.parts["unet"].config.get("sample_size")
    fits = int(preset.sections["character_training"]["resolution"])
    return said * _LATENT_PX if isinstance(said, int) and not source.open_clip else fits


def drawn_px(lineage: Lineage) -> tuple[int, int]:
    """Width and height at which a base is drawn unless somebody says otherwise."""
    fits = lineage.preset.sections["sampling"]
    width, height = (scaled(lineage.preset, lineage.source, int(fits[side])) for side in ("width", "height"))
    return width, height


def scaled(preset: BasePreset, source: Source, px: int) -> int:
    """A side of the preset's for a base of another size, such as a small model of the same build."""
    fits = int(preset.sections["character_training"]["resolution"])
    return round(px * own_px(preset, source) / fits / _LATENT_PX) * _LATENT_PX


def _zero_terminal(recipe: Recipe, lineage: Lineage) -> bool:
    return recipe.base.zero_terminal_snr or lineage.source.zero_terminal_snr
