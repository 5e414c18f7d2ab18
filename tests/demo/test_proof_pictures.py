"""The overview can be read however many arms it shows."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from demo.proof.arms import CORE, arm_names, read_arm
from demo.proof.pairs import PAIRS
from demo.proof.pictures import label_of, overview, trait_sheet
from demo.proof.run import Outcome, store_of
from lora_core.sampling.grid import wrapped
from lora_core.store import Store
from tests.demo.test_proof_evaluate import outcome

FEW, MANY = CORE, tuple(name for name in arm_names() if not read_arm(name).style_set)[:12]

COLOURS = {"lime": (0, 255, 0), "red": (255, 0, 0), "blue": (0, 0, 255)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_of(tmp_path).open_store()


def plain(store: Store, colour: str) -> str:
    """A picture of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (16, 16), colour).save(buffer, "PNG")
    return store.put_bytes(buffer.getvalue())


def drawn(store: Store, name: str, pair_number: int) -> Outcome:
    """An arm whose every picture is the same."""
    red = plain(store, "red")
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


def test_a_sheet_of_a_trait_has_arms_down_below_screenshots_and_as_many_columns_as_it_has_both_of(store: Store) -> None:
    """Two samples of each arm, three screenshots."""
    samples = drawn(store, "naive", 0).samples.samples[:2]
    blue = tuple(one.model_copy(update={"image": plain(store, "blue")}) for one in samples)
    picture = trait_sheet(store, [plain(store, "lime")] * 3, {"naive": samples, "captions-only": blue}, "a sash")
    pixels = np.asarray(picture.convert("RGB"))
    rows = {name: np.nonzero((pixels == colour).all(2))[0] for name, colour in COLOURS.items()}
    assert rows["lime"].max() < rows["red"].min() < rows["red"].max() < rows["blue"].min()
    assert len(rows["lime"]) == len(rows["red"]) == len(rows["blue"])


def test_no_arms_name_is_cut_beside_its_row() -> None:
    font = ImageFont.load_default(size=16)
    for name in arm_names():
        lines = wrapped(label_of(name), 196, font)
        assert "".join(lines).replace(" ", "") == name
