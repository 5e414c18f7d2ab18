"""What a worker may touch when a form asks: one home, and folders its owner opened. Read from the environment, once.

A run that is started in Prefect's UI names folders on the worker's machine. Whoever can reach the UI must not reach
every file of that machine, so a path of a form is taken only from inside these folders, links followed.

::

    HOME/
        recipes/NAME.toml     presets: what characters share (base, tagger, style screenshots, sizes)
        characters/NAME/      screenshots; a recipe.toml beside them goes over the preset
        out/                  published LoRAs
        .headcanon/           the store
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from lora_core.errors import RecipeError

PRESETS = "recipes"
CHARACTERS = "characters"


class Place(BaseSettings):
    """The settings `HEADCANON_…` of a worker; `headcanon up` sets them for its own."""

    model_config = SettingsConfigDict(env_prefix="HEADCANON_", frozen=True, extra="ignore")

    home: str = ""
    also: str = ""
    store_path: str = ""
    out_path: str = ""

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
        folder = self.folder / PRESETS
        known = {path.stem: path for path in sorted(folder.glob("*.toml"))}
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "there is none yet"
            raise RecipeError(f"preset {name!r}: no {folder / (name + '.toml')}; {there}")
        return known[name]


def character_folders(within: Path) -> Iterator[Path]:
    """Folders that hold one character each, by name: none that is hidden, and no link."""
    for path in sorted(within.glob("*")):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield path
