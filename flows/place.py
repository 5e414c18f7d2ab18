"""What a worker may touch when a form asks: one home, and folders its owner opened. Read from the environment, once.

A run that is started in Prefect's UI names folders on the worker's machine. Whoever can reach the UI must not reach
every file of that machine, so a path of a form is taken only from inside these folders, links followed.

::

    HOME/
        recipes/NAME.toml     presets: what characters share (base, tagger, style screenshots, sizes)
        characters/NAME/      screenshots; a recipe.toml beside them goes over the preset
        models/               base models and taggers, where the studio page looks for them
        out/                  published LoRAs
        .headcanon/           the store
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lora_core.errors import RecipeError
from lora_core.printable import printable_name
from lora_core.recipe import Recipe

PRESETS = "recipes"
CHARACTERS = "characters"
MODELS = "models"
LONGEST_NAME = 80
"""Letters of a character's name, in a recipe and in a form."""

_NAME: TypeAdapter[str] = TypeAdapter(Annotated[str, Recipe.model_fields["name"]])


class OddFolder(NamedTuple):
    """A folder that cannot be a character's, by its name as it can be shown, and why."""

    name: str
    reason: str


class AllowedFolders(BaseSettings):
    """The settings `HEADCANON_…` of a worker; `headcanon up` sets them for its own.

    `page` is the path of the studio page at the address of Prefect's UI; empty: that server has none.
    """

    model_config = SettingsConfigDict(env_prefix="HEADCANON_", frozen=True, extra="ignore")

    home: str = ""
    also: str = ""
    store_path: str = ""
    out_path: str = ""
    page: str = ""

    @property
    def folder(self) -> Path:
        """The home, links followed.

        Raises:
            RecipeError: this worker was not told its home.
        """
        if not self.home:
            raise RecipeError(
                "this worker has no home folder, so that forms may name nothing on its machine; start it with "
                "`headcanon up DIR`, or set HEADCANON_HOME"
            )
        return Path(self.home).expanduser().resolve()

    @property
    def characters(self) -> tuple[Path, ...]:
        """The characters' folders, by name."""
        return tuple(character_folders(self.folder / CHARACTERS))

    @property
    def odd_folders(self) -> tuple[OddFolder, ...]:
        """Those beside them that cannot be characters'."""
        return tuple(odd_folders(self.folder / CHARACTERS))

    @property
    def store(self) -> str:
        """Where everything that is computed goes."""
        return self.store_path or str(self.folder / ".headcanon")

    @property
    def out(self) -> str:
        """Where finished LoRAs go."""
        return self.out_path or str(self.folder / "out")

    @property
    def roots(self) -> tuple[Path, ...]:
        """The home and the folders that were opened besides (`HEADCANON_ALSO`, separated as in PATH)."""
        more = (Path(text).expanduser().resolve() for text in self.also.split(os.pathsep) if text)
        return (self.folder, *more)

    @property
    def presets(self) -> dict[str, Path]:
        """Name → file of every preset, by name."""
        return {path.stem: path for path in sorted((self.folder / PRESETS).glob("*.toml"))}

    @property
    def taggers(self) -> tuple[Path, ...]:
        """Folders of taggers in the home's models, or in a folder that was opened besides."""
        return tuple(each for each in self._models if _is_tagger(each))

    @property
    def bases(self) -> tuple[Path, ...]:
        """Base models there: checkpoints, and folders of diffusers'."""
        files = (each for each in self._models if not _is_tagger(each.parent))  # a tagger's own weights
        return tuple(each for each in files if each.suffix == ".safetensors" or (each / "model_index.json").is_file())

    @property
    def _models(self) -> list[Path]:
        first, *more = self.roots
        places = ((first / MODELS, "*"), (first / MODELS, "*/*.safetensors"), *((root, "*") for root in more))
        found = {path for within, pattern in places for path in within.glob(pattern)}
        return sorted(path for path in found if not path.name.startswith("."))

    def inside(self, text: str, what: str) -> Path:
        """A path that a form gave, links followed; a relative one lies in the home.

        Args:
            text: the path.
            what: what it is, for the message.

        Raises:
            RecipeError: it lies, or a link in it leads, outside of what this worker may touch.
        """
        if "\0" in text:
            raise RecipeError(f"{what}: a path must not hold a zero byte")
        try:
            path = (self.folder / Path(text).expanduser()).resolve()
        except RuntimeError:
            raise RecipeError(f"{what} {text!r}: there is no such home folder") from None
        if not any(path.is_relative_to(root) for root in self.roots):
            raise RecipeError(
                f"{what} {text!r}: outside of the folders that this worker may touch; put it into {self.folder}, or "
                "open its folder with `headcanon up --allow DIR`"
            )
        return path

    def preset(self, name: str) -> Path:
        """The file of a preset.

        Raises:
            RecipeError: there is none of that name; those that are there are named.
        """
        known = self.presets
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "there is none yet"
            raise RecipeError(f"preset {name!r}: no {self.folder / PRESETS / (name + '.toml')}; {there}")
        return known[name]


def _is_tagger(folder: Path) -> bool:
    return (folder / "selected_tags.csv").is_file()


def character_folders(within: Path) -> Iterator[Path]:
    """Folders that hold one character each, by name: none that is hidden, no link, and none with an odd name."""
    return (folder for folder in _folders(within) if not name_fault(folder.name))


def odd_folders(within: Path) -> Iterator[OddFolder]:
    """Folders that are no character's because no run, and no file, can have their name."""
    for folder in _folders(within):
        if fault := name_fault(folder.name):
            yield OddFolder(printable_name(folder.name), fault)


def _folders(within: Path) -> Iterator[Path]:
    """Each on its own: one that cannot even be asked what it is does not hide the others.

    Raises:
        RecipeError: the folder itself cannot be read.
    """
    try:
        with os.scandir(within) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RecipeError(f"{within}: cannot be read ({error.strerror}); allow it, or start as another user") from error
    for entry in entries:
        if not entry.name.startswith(".") and _is_folder(entry):
            yield within / entry.name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether it is one, and no link; what cannot be asked counts as one, so that whoever reads it says why."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return True


def name_fault(name: str) -> str:
    """Why a folder of that name can be no character's; empty: it can."""
    if len(name) > LONGEST_NAME:
        return f"its name has {len(name)} letters, at most {LONGEST_NAME} can be used; rename it"
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        if name.encode(errors="replace").decode() != name:
            return "its name is not UTF-8; rename it"
        return f"its name {error.errors()[0]['msg'].removeprefix('Value error, ')}"
    return ""
