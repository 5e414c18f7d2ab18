"""One cache: keys of one form, versions from one table."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest

from lora_core import versions
from lora_core.recipe import Merge
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.memo import memo, memo_key
from lora_core.versions import SHARED_BY, VERSIONS, Piece, Step, version_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_every_step_and_every_piece_has_a_version() -> None:
    assert set(VERSIONS) == set(get_args(Step))
    assert set(SHARED_BY) == set(get_args(Piece))


def test_a_key_is_the_digest_of_step_version_and_inputs() -> None:
    assert memo_key("merge", {"options": Merge(), "base": ("a", "b")}) == digest_of(
        canonical_json(["merge", VERSIONS["merge"], {"options": Merge().model_dump(mode="json"), "base": ["a", "b"]}])
    )


@pytest.mark.parametrize("raised", get_args(Step))
def test_a_raised_version_makes_the_step_and_its_pictures_again(raised: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {work: memo_key(work, "input") for work in (*get_args(Step), *get_args(Piece))}
    newer: Mapping[str, int] = {**VERSIONS, raised: VERSIONS[raised] + 1}
    monkeypatch.setattr(versions, "VERSIONS", newer)
    changed = {work for work, key in before.items() if memo_key(work, "input") != key}
    assert changed == {raised, *(piece for piece, steps in SHARED_BY.items() if raised in steps)}


def test_equal_inputs_are_worked_on_once(store: Store) -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return [7]

    key = memo_key("picture class", "of one picture")
    assert [memo(store, key, list[int], make) for _ in range(2)] == [[7], [7]]
    assert made == [1]


def test_a_result_whose_bytes_are_gone_is_made_again(store: Store) -> None:
    def make() -> dict[str, str]:
        return {"image": store.put_bytes(b"picture")}

    def named(made: dict[str, str]) -> list[str]:
        return [made["image"]]

    key = memo_key("thumbnail", "of one picture")
    sha256 = memo(store, key, dict[str, str], make, named)["image"]
    store.path(sha256).unlink()
    memo(store, key, dict[str, str], make, named)
    assert store.get_bytes(sha256) == b"picture"


def test_no_module_keeps_a_version_or_makes_a_key_of_its_own() -> None:
    own = re.compile(r"^_?[A-Z_]*VERSION = \d|@step\([^)]*version", re.MULTILINE)
    sources = [path for room in ("lora_core", "tasks") for path in (ROOT / room).rglob("*.py")]
    assert [str(path) for path in sources if own.search(path.read_text())] == []


def test_a_piece_counts_the_versions_of_all_steps_that_share_it() -> None:
    assert version_of("latent") == VERSIONS["train style"] + VERSIONS["train character"]
