"""`headcanon up` on a Postgres database, which is restarted in the middle of a run."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import Postgres, postgres
from running import Up, started
from small_home import new_home

from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.long]

_AWAY_SECONDS = 5.0


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, drawn: Path, database: Postgres) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with started(new_home(folder / "home", drawn, folder / "prefect"), "--database", database.url) as running:
        yield running


def test_a_run_goes_on_when_the_database_is_restarted_under_it(up: Up, database: Postgres) -> None:
    up.state(up.submit("train-character", character="momo"), "Completed")
    lora = up.project.folder / "out/momo/momo.safetensors"
    before = file_digest(lora)
    lora.unlink()
    run = up.caught_in_training("momo")
    database.stop()
    time.sleep(_AWAY_SECONDS)
    database.start()
    up.state(run, "Completed")
    assert file_digest(lora) == before
    assert up.run(run)["run_count"] == 1
    up.state(up.submit("train-character", character="momo"), "Completed")  # and the worker takes the next
