"""The overview can be read however many arms it shows."""

import dataclasses
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from demo.proof.arms import CORE, arm_names, read_arm
from demo.proof.pairs import PAIRS
from demo.proof.pictures import label_of, overview
from demo.proof.run import Outcome, store_of
from lora_core.sampling.grid import wrapped
from lora_core.store import Store
from tests.demo.test_proof_evaluate import outcome

FEW, MANY = CORE, tuple(name for name in arm_names() if not read_arm(name).style_set)[:12]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path).open_store()


def drawn(store: Store, name: str, pair_number: int) -> Outcome:
    """An arm whose every picture is the same."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, "PNG")
    red = store.put_bytes(buffer.getvalue())
    made = outcome(name, 0.5, 0.5, pair=PAIRS[pair_number])
    samples = tuple(sample.model_copy(update={"image": red}) for sample in made.samples.samples)
    return dataclasses.replace(made, screenshot=red, samples=made.samples.model_copy(update={"samples": samples}))


def size(store: Store, names: tuple[str, ...]) -> tuple[int, int]:
    picture = overview(store, [drawn(store, name, k) for k in range(2) for name in names], names)
    assert picture is not None
    return picture.size


def test_few_arms_go_across_and_many_go_down(store: Store) -> None:
    (wide, low), (narrow, high) = size(store, FEW), size(store, MANY)
    assert wide > 2 * low
    assert high > 2 * narrow


def test_no_arms_name_is_cut_beside_its_row() -> None:
    font = ImageFont.load_default(size=16)
    for name in arm_names():
        lines = wrapped(label_of(name), 196, font)
        assert "".join(lines).replace(" ", "") == name
