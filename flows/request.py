"""From what a form says to a recipe: a preset, what lies beside the screenshots, and what the form itself says."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from flows.main_options import sections_of
from flows.place import CHARACTERS, LONGEST_NAME, PRESETS, AllowedFolders
from lora_core.bases.presets import base_presets
from lora_core.bounded import read_toml
from lora_core.errors import RecipeError
from lora_core.recipe import PATHS, OptimizerName, Options, Recipe, of_folders
from lora_core.recipe_file import anchored, looks_like_path, parse_recipe, with_outfits
from tasks.runtime import RunContext, Step

OWN_RECIPE = "recipe.toml"
DEFAULT_PRESET = "default"

_TRAININGS = ("style_training", "character_training")

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
"""A character's, in a form."""

# Where things go (of runtime) is the worker's business.
_PATHS = tuple((each.section, each.name) for each in PATHS if each.section != "runtime")
_WHERE = tuple(each.name for each in PATHS if each.section == "runtime")

# What sends data away or names a secret. Screenshots with their recipe.toml may come from anybody, and a run for them
# starts by itself: these are for presets, and for whoever fills a form in.
_OWNERS_ONLY = (("publish", "repository"), ("publish", "private"), ("publish", "token_block"))


def recipe_of(
    place: AllowedFolders,
    character: str,
    folder: str = "",
    preset: str = "",
    base: str = "",
    own: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Recipe:
    """A character's recipe: the preset's keys, under those of a recipe.toml beside the screenshots, under the form's.

    Args:
        place: what this worker may touch.
        character: name of the character, and of its folder if `folder` is empty.
        folder: its screenshots, or a folder with recipe.toml.
        preset: name of a recipe in the home's recipes/, or of a family of bases (docs/bases.md), whose numbers then
            lie under `default`'s keys. Empty: `default` if there is one.
        base: a base model instead of the recipe's.
        own: what a recipe.toml beside the screenshots would say, to be checked before it is written.
        options: what the form says besides.

    Raises:
        RecipeError: no such preset, an option that does not exist or is out of bounds, one that is not the
            character's to set, or a path outside of the worker's folders. What a preset names may lie anywhere: its
            author has the worker's machine.
    """
    pictures = place.inside(folder or f"{CHARACTERS}/{character}", "folder")
    own_file = place.inside(str(pictures / OWN_RECIPE), "recipe")
    own = own if own is not None else _read(own_file) if own_file.is_file() else {}
    _refuse_owners_options(own, own_file)
    source = str(own_file) if own else ""
    if options:
        own, source = _over(own, options), f"{own_file} and the form" if own else "the form"
    if base:
        own = {**own, "base": {**_section(own.get("base")), "model": str(place.inside(base, "base"))}}
    file, shared = _shared(place, preset, needed="base" not in own)
    runtime = _runtime(place, shared, own)
    shared = {key: value for key, value in shared.items() if key not in ("name", "trigger", "character", "runtime")}
    data = {**_over(shared, own), "name": character, "runtime": runtime}
    data["character"] = {"images": str(pictures), **_section(own.get("character"), "character")}
    recipe = parse_recipe(data, source or str(file))
    at_home = anchored(recipe, pictures)
    settled = _choose(at_home, anchored(recipe, file.parent) if file else at_home, own)
    _refuse_outside(place, settled, {(section, field) for section, field in _PATHS if _says(own, section, field)})
    return with_outfits(settled)


def shared_recipe(place: AllowedFolders, preset: str) -> Recipe:
    """A preset as a recipe of its own, for what its characters share; its name and character stand for nobody's.

    Raises:
        RecipeError: no such preset, or an option that does not exist or is out of bounds.
    """
    file, data = _shared(place, preset, needed=True)
    if file is None:
        raise RecipeError(f"preset {preset!r}: there is no recipe in {place.folder / PRESETS}")
    nobody = _section(data.get("style"), "style").get("images") or str(place.folder)
    stand_in = {"name": "style", "trigger": "", "character": nobody, "runtime": _runtime(place, data)}
    return anchored(parse_recipe({**data, **stand_in}, str(file)), file.parent)


def checked(place: AllowedFolders, recipe: Recipe) -> Recipe:
    """A whole recipe that a form gave, with its paths in the worker's folders and its results in the worker's store.

    Raises:
        RecipeError: a path outside of the worker's folders, or an optimizer that is named by its class.
    """
    _refuse_code("the form", ((one, dict(getattr(recipe, one))) for one in _TRAININGS))
    runtime = recipe.runtime.model_copy(update=_runtime(place))
    settled = anchored(recipe.model_copy(update={"runtime": runtime}), place.folder)
    _refuse_outside(place, settled, set(_PATHS))
    return with_outfits(settled)


def recipe_of_run(place: AllowedFolders, said: Mapping[str, Any]) -> Recipe:
    """The recipe of a run, from the parameters of whichever of the three forms it was started with.

    Raises:
        RecipeError: as `recipe_of` and `checked`.
    """
    if "name" in said:  # the full form
        given = {key: value for key, value in said.items() if key in Recipe.model_fields}
        given["runtime"] = {key: said[key] for key in ("processes", "speed") if key in said}
        return checked(place, parse_recipe(given, "form"))
    character, folder, preset, base = (str(said.get(name) or "") for name in ("character", "folder", "preset", "base"))
    return recipe_of(place, character, folder, preset, base, options=sections_of(said.get("options") or {}))


def chosen_in_form(said: Mapping[str, Any], epoch: int, weight: float) -> dict[str, Any]:
    """Parameters of a run that publishes what a person chose of the run with these."""
    choice: dict[str, Any] = {"epoch": epoch, "weight": weight}
    if "name" in said:  # the full form
        gates = {**(said.get("gates") or {}), "successor": "off"}
        choice = {"judging": {**(said.get("judging") or {}), **choice}, "gates": gates, "until": "publish"}
    return {**said, **choice, "force": []}


def at_of(recipe: Recipe, force: tuple[Step, ...] = ()) -> RunContext:
    """Where the steps of a recipe run."""
    return RunContext.of(recipe, force)


def _runtime(place: AllowedFolders, *said: Mapping[str, Any]) -> dict[str, Any]:
    """Where things lie is the worker's business; all else (what computes them, and how) is the recipe's."""
    sections = [one["runtime"] for one in said if isinstance(one.get("runtime"), Mapping)]
    computing = {key: value for section in sections for key, value in section.items() if key not in _WHERE}
    return {**computing, "out": place.out, "store": place.store}


def _shared(place: AllowedFolders, preset: str, *, needed: bool) -> tuple[Path | None, dict[str, Any]]:
    """The file of a preset, and its keys: over the numbers of a family of bases, if it is called after one."""
    fitting = next((each for each in base_presets() if each.name == preset), None)
    if fitting is None or (place.folder / PRESETS / f"{preset}.toml").is_file():
        file = _preset_file(place, preset, needed=needed)
        return file, _read(file) if file else {}
    file = _preset_file(place, "", needed=needed)
    own = _read(file) if file else {}
    own = {key: _section(value, key) if key in fitting.sections else value for key, value in own.items()}
    return file, _over(fitting.sections, own)


def _preset_file(place: AllowedFolders, preset: str, *, needed: bool) -> Path | None:
    if preset:
        return place.preset(preset)
    try:
        return place.preset(DEFAULT_PRESET)
    except RecipeError:
        if needed:
            raise
        return None


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_toml(file, RecipeError)
    except FileNotFoundError as error:
        raise RecipeError(f"{file}: not a readable TOML file: {error}") from error


def _over(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Section by section, and key by key in each; a short form (`base = "file"`) replaces what it is short for."""
    merged = dict(shared)
    for key, value in own.items():
        both = isinstance(value, Mapping) and key in shared
        merged[key] = {**_section(shared[key], key), **value} if both else value
    return merged


def _section(value: Any, key: str = "base") -> dict[str, Any]:
    """A section as a mapping, its short form included."""
    if key in ("style", "character"):
        value = of_folders(value)
    return {"model": value} if isinstance(value, str) else dict(value or {})


def _refuse_code(where: str, trainings: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Refuse an optimizer that is named by its class: importing it runs code."""
    for section, options in trainings:
        if "." in str(options.get("optimizer", "")):
            raise RecipeError(
                f"{where}: {section}.optimizer = {str(options['optimizer'])!r} names a class, which is code; set it in "
                f"a preset in {PRESETS}/, which belongs to whoever owns the worker, or take one of "
                f"{', '.join(get_args(OptimizerName))}"
            )


def _refuse_owners_options(own: Mapping[str, Any], file: Path) -> None:
    for section, field in _OWNERS_ONLY:
        if _says(own, section, field):
            raise RecipeError(
                f"{file}: {section}.{field} is not a character's to set: it decides what leaves this machine; set it "
                f"in a preset in {PRESETS}/, which belongs to whoever owns the worker"
            )
    _refuse_code(str(file), ((one, _section(own.get(one))) for one in _TRAININGS))


def _says(own: Mapping[str, Any], section: str, field: str) -> bool:
    return field in _section(own.get(section), section)


def _choose(own_paths: Recipe, shared_paths: Recipe, own: Mapping[str, Any]) -> Recipe:
    """Relative paths are taken from the folder of the file that names them."""
    changed: dict[str, Options] = {}
    for section, field in _PATHS:
        source = own_paths if _says(own, section, field) or section == "character" else shared_paths
        options = changed.get(section, getattr(own_paths, section))
        changed[section] = options.model_copy(update={field: getattr(getattr(source, section), field)})
    return own_paths.model_copy(update={**changed, "runtime": own_paths.runtime})


def _refuse_outside(place: AllowedFolders, recipe: Recipe, fields: set[tuple[str, str]]) -> None:
    for section, field in sorted(fields):
        for text in _paths(getattr(getattr(recipe, section), field)):
            place.inside(text, f"{section}.{field}")


def _paths(value: str | tuple[str, ...]) -> Iterator[str]:
    """The paths among texts that may be hub repositories too; a repository is pinned by its revision."""
    for text in (value,) if isinstance(value, str) else value:
        if text and looks_like_path(text):
            yield text
