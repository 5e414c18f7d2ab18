"""`headcanon up` on a free port, with a home of its own: server, worker and all, as a user has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Up, started
from small_home import new_home

from demo.world import STYLE, TARGET, screenshots
from demo.world.screenshot import PLAN


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One screenshot of each composition, of each of two characters."""
    folder = tmp_path_factory.mktemp("drawn")
    for character, name in ((STYLE, "style"), (TARGET, "character")):
        screenshots(character, folder / name, seed=3, plan=dict.fromkeys(PLAN, 1))
    return folder


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    """One for the module."""
    folder = tmp_path_factory.mktemp("up")
    with started(new_home(folder / "home", drawn, folder / "prefect")) as running:
        yield running
