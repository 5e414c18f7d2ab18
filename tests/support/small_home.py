"""A home for `headcanon up` around a small project: its recipe as the preset, its character in characters/."""

import shutil
from pathlib import Path

from small_project import Project, new_project


def new_home(folder: Path, drawn: Path, prefect_home: Path, characters: tuple[str, ...] = ("momo",)) -> Project:
    """A project laid out as a home; every character has the same screenshots.

    Args:
        folder: made here.
        drawn: screenshots of `style` and `character`.
        prefect_home: Prefect's own folder.
        characters: names.
    """
    project = new_project(folder, drawn, prefect_home)
    text = project.recipe.read_text().replace('style = "style"', 'style = "../style"')
    (folder / "recipes").mkdir()
    (folder / "recipes" / "default.toml").write_text(text)
    project.recipe.unlink()
    for name in characters:
        shutil.copytree(folder / "character", folder / "characters" / name)
    shutil.rmtree(folder / "character")
    return project
