"""Screenshots drawn once for all tests of the flow."""

from pathlib import Path

import pytest
from small_project import Project, new_project

from demo.world import STYLE, TARGET, Character, screenshots

_KEPT = ("close-up_001.png", "portrait_002.png", "upper_body_003.png", "cowboy_shot_004.png")


def _few(character: Character, folder: Path, everything: Path) -> None:
    screenshots(character, everything, seed=3)
    folder.mkdir(parents=True)
    for name in _KEPT:
        (everything / name).rename(folder / name)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four screenshots of each of two characters, and the rest of the character's in `more/`."""
    folder = tmp_path_factory.mktemp("drawn")
    _few(STYLE, folder / "style", folder / "unused")
    _few(TARGET, folder / "character", folder / "more")
    return folder


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the session: its database is made once."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def project(tmp_path: Path, drawn: Path, prefect_home: Path, api: str) -> Project:
    """A fresh project, nothing computed."""
    return new_project(tmp_path / "project", drawn, prefect_home, api)
