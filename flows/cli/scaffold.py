"""What `headcanon new` writes: the recipe's comments are the options' own descriptions, so they cannot go stale."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from lora_core.bases.presets import BasePreset
from lora_core.errors import OutputExistsError, RecipeError
from lora_core.methods import FIRST, Method
from lora_core.printable import clipped
from lora_core.recipe import COMPOSITIONS, PRESETS, Process, Recipe, ShotPlan
from lora_core.recipe.names import checked_name, trigger_from
from lora_core.recipe_import import Imported
from lora_core.store.files import write_atomically
from lora_core.store.outputs import check_out_folder

_HEAD = """\
# headcanon recipe. Put screenshots into {folders}{name_base}, then:
#
#   headcanon run {recipe} --dry-run     show the plan
#   headcanon run {recipe}               do it; kill it whenever you like, run the same command to resume
#
# Screenshots: transparent background, face visible, several angles. The composition is read from the sub-folder or
# from the file name's beginning (upper_body_01.png). The method's counts{for_both}:
# {plan}
# Several outfits: a sub-folder each, [character] outfits (docs/captions.md).

name = {name}
#trigger = {trigger}   # the word that calls the character in prompts
{first}method = "{method}"{space}# {what}
{style}character = {character}              # yours
{base}
[tagger]
model = {tagger}   # a folder with model.onnx and selected_tags.csv: the note's tagger

[captions]
# What your character *is*: these tags leave the captions, so that the trigger learns them.
# Empty: everything about the body. More rules, one picture's too, go into a file of their own:
#   headcanon caption {recipe} --suggest     writes one to start from, from what the tagger sees
#rules = "captions.toml"
memorize = []   # such as ["blonde_hair", "long_hair", "pointy_ears", "blue_eyes"]
{captions}
# {below}
"""
_NO_BASE = """
[base]
model = "path/to/model.safetensors"   # SD1.5, SD2 or SDXL: a file in the original layout, or a diffusers folder.
#                                       `headcanon new DIR --base FILE` writes numbers that fit the file.
"""
_DEFAULTS = "Everything below is this method's default. Take away a '#' to change a line."
_FITTED = """\
Below: numbers that fit {title}, with the reason above each; docs/bases.md has the [sources].
# A line that begins with '#' is the default: take away the '#' to change it."""
_TAKEN = """\
Below: the numbers of your config, with their names there above each; the rest is this method's.
# A line that begins with '#' is the default: take away the '#' to change it."""
_STYLE = 'style = "style"                      # a character very different from yours, same compositions and angles\n'
_STYLE_IF_NEEDED = '#style = "style"    # another character, very different: where the base has no word for the look\n'
_SHOWN = ("name", "base", "tagger", "style", "character", "captions")
_WIDTH = 110
_VAE = "path/to/vae.safetensors"
_MODELS, _TAGGER = Path("models"), "wd-swinv2"
"""Where `headcanon models get` puts models, and the tagger's name there."""


class FittedBase(NamedTuple):
    """A base model and the numbers that fit it, to be written into a new recipe."""

    model: str
    revision: str
    preset: BasePreset
    told: str
    """What is known of the base, and how: a comment."""
    predicts: bool
    """Whether prediction and zero terminal SNR must be written, because the base does not say them itself."""
    needs_vae: bool = False
    """Whether it has none of its own, so that the recipe must name one."""

    @property
    def process(self) -> Process:
        """What has to be told of its diffusion process."""
        zero = self.preset.zero_terminal_snr
        return Process(prediction=self.preset.prediction, zero_terminal_snr=zero) if self.predicts else Process()

    @property
    def clip_skip(self) -> int:
        """The layer of the text encoder that fits it."""
        return int(self.preset.sections.get("base", {}).get("clip_skip", 1))


def write_new(
    folder: Path, method: Method = FIRST.method, base: FittedBase | None = None, taken: Imported | None = None
) -> str:
    """Write the folder, with a recipe for a method, a base and another trainer's numbers; returns what to do next.

    Raises:
        OutputExistsError: the folder exists and is not empty.
        RecipeError: a LoRA cannot be called as the folder is.
    """
    settings = taken.settings if taken else {}
    name = settings["name"] if "name" in settings else _lora_name(folder)
    check_out_folder(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(f"{folder}: exists and is not empty; nothing was written; name a new folder")
    sides = ("style", "character") if _needs_style(method) else ("character",)
    for side in sides:
        for composition in COMPOSITIONS:
            (folder / side / composition).mkdir(parents=True)
    recipe, tagger = folder / "recipe.toml", _MODELS / _TAGGER
    numbers = _with_imported(base.preset if base else None, taken)
    fitted = base._replace(preset=numbers) if base and numbers else None
    plan = ", ".join(f"{name} {ShotPlan().count(name)}" for name in COMPOSITIONS)
    what, space = PRESETS[method].what, " " * max(1, 26 - len(method))
    head = _HEAD.format(
        recipe=recipe, plan=plan, name=_toml(name), trigger=_toml(trigger_from(name)), method=method, what=what,
        space=space,
        first=f"# The one to begin with: {FIRST.why}.\n" if method == FIRST.method else "",
        name_base="" if base or "base.model" in settings else ", name your base model",
        folders=" and ".join(f"{side}/" for side in sides), for_both=", for both sets" if len(sides) > 1 else "",
        tagger=_toml(str(tagger.absolute()) if tagger.is_dir() else f"./{tagger.as_posix()}"),
        style=_STYLE if "style" in sides else _STYLE_IF_NEEDED if method == "auto" else "",
        base="\n".join(_base(fitted)) if fitted else _unfitted(settings, numbers),
        captions=_captions(method, base.preset) if base else "",
        character=_toml(settings.get("character.images", "character")),
        below=_FITTED.format(title=base.preset.title) if base else _TAKEN if taken else _DEFAULTS,
    )  # fmt: skip
    write_atomically(recipe, (head + _defaults(method, numbers)).encode())
    steps = [f"Put screenshots into {' and '.join(str(folder / side) for side in sides)} (one folder a composition)."]
    steps += [] if tagger.is_dir() else [f"headcanon models get {_TAGGER} --into {folder / _MODELS}"]
    steps += [] if base or "base.model" in settings else [f"Name your base model in {recipe}."]
    steps += [f"Name a VAE in {recipe} ([base] vae): the model has none."] if base and base.needs_vae else []
    steps += [f"headcanon run {recipe} --dry-run"]
    lines = [f"Wrote {recipe} and folders for screenshots."]
    lines += [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    return "\n".join([*([base.told] if base else []), *(_imported(taken, method) if taken else ()), *lines])


def _imported(taken: Imported, method: Method) -> Iterator[str]:
    """What was taken over, and a line for each option that was not."""
    changes = PRESETS[method].changes
    of_method = {f"{section}.{option}" for section, options in changes.items() for option in options}
    ours = sorted(key for key in taken.settings if not key.startswith("style_training.") and key not in of_method)
    yield f"Taken over from {taken.source}: {', '.join(ours) or 'nothing'}."
    yield from (f"! not taken over: {line}" for line in taken.left_out)
    for key in sorted(of_method & taken.settings.keys()):
        yield f"! not taken over: {taken.reasons[key]}: method {method!r} has a {key} of its own"


def _with_imported(preset: BasePreset | None, taken: Imported | None) -> BasePreset | None:
    """The numbers that stand in the recipe: the base's, and over them those of another trainer's config."""
    if taken is None:
        return preset
    sections = {title: dict(options) for title, options in preset.sections.items()} if preset else {}
    for path, value in taken.settings.items():
        section, _, option = path.rpartition(".")
        if section and path not in ("base.model", "character.images"):
            sections.setdefault(section, {})[option] = value
    reasons = {**(preset.reasons if preset else {}), **taken.reasons}
    if preset is not None:
        return preset.model_copy(update={"sections": sections, "reasons": reasons})
    return BasePreset(
        name="", title=taken.source, architecture="sd1", prediction="epsilon", names=(), sections=sections,
        reasons=reasons,
    )  # fmt: skip


def _unfitted(settings: Mapping[str, Any], numbers: BasePreset | None) -> str:
    """The section of a base that was not looked at."""
    if "base.model" not in settings:
        return _NO_BASE
    lines = ["", "[base]", f"model = {_toml(settings['base.model'])}"]
    for name, value in (numbers.sections if numbers else {}).get("base", {}).items():
        lines += [*_comment(numbers.reasons[f"base.{name}"] if numbers else ""), f"{name} = {_toml(value)}"]
    return "\n".join((*lines, ""))


def _lora_name(folder: Path) -> str:
    name = folder.absolute().name
    try:
        return checked_name(name)
    except ValueError as error:
        raise RecipeError(f"{clipped(folder)}: the LoRA is called as the folder, and its name {error}") from None


def _needs_style(method: Method) -> bool:
    any_ = {"name": "any", "base": "any", "style": "any", "character": "any"}
    return Recipe.model_validate({**any_, "method": method}).needs_style


def _base(base: FittedBase) -> Iterator[str]:
    """The section of the base, without an empty line after it."""
    yield from ("", "[base]")
    yield from _comment(base.told)
    yield f"model = {_toml(base.model)}"
    if base.revision:
        yield f"revision = {_toml(base.revision)}"
    if base.needs_vae:
        yield f'vae = "{_VAE}"   # a .safetensors file: the model has none of its own'
    if base.predicts:
        yield "# the preset's; the model does not say it itself"
        yield f"prediction = {_toml(base.preset.prediction)}"
        if base.preset.zero_terminal_snr:
            yield "zero_terminal_snr = true"
    for name, value in base.preset.sections.get("base", {}).items():
        yield from _comment(base.preset.reasons[f"base.{name}"])
        yield f"{name} = {_toml(value)}"
    yield ""


def _captions(method: Method, preset: BasePreset) -> str:
    """The words for the look, where the method does not leave them out on purpose."""
    taken = PRESETS[method].changes.get("captions", {})
    lines = [
        line
        for name, value in preset.sections.get("captions", {}).items()
        if name not in taken
        for line in (*_comment(preset.reasons[f"captions.{name}"]), f"{name} = {_toml(value)}")
    ]
    return "".join(f"{line}\n" for line in lines)


def _defaults(method: Method, fitting: BasePreset | None) -> str:
    lines: list[str] = []
    for section, field in Recipe.model_fields.items():
        if section not in _SHOWN and (model := _options(field.annotation)):
            lines += _section(section, model, PRESETS[method].changes.get(section, {}), fitting)
    return "\n".join(lines).lstrip("\n") + "\n"


def _section(
    title: str, model: type[BaseModel], preset: Mapping[str, Any], fitting: BasePreset | None
) -> Iterator[str]:
    """A table with its options as comments, those that the base's preset sets as themselves; then the tables inside."""
    set_here = fitting.sections.get(title, {}) if fitting else {}
    yield from ("", f"[{title}]")
    for name, option in model.model_fields.items():
        if option.default is PydanticUndefined or _options(option.annotation):
            continue
        if fitting and name in set_here and name not in preset:
            yield from _comment(fitting.reasons[f"{title}.{name}"])
            yield f"{name} = {_toml(set_here[name])}"
        else:
            yield from _comment(f"{option.description}")
            yield f"#{name} = {_toml(preset.get(name, option.default))}"
    for name, option in model.model_fields.items():
        if inner := _options(option.annotation):
            yield from _section(f"{title}.{name}", inner, preset.get(name, {}), fitting)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _options(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
