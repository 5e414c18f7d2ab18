"""Copies and diversity, on pictures of the drawn world."""

import random
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from stored_pictures import samples, training

from demo.world import STYLE, TARGET, Scene, draw
from lora_core.dataset import Manifest
from lora_core.judging.similarity import Similarity, compare
from lora_core.sampling.samples import Samples
from lora_core.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def drawn(number: int) -> Image.Image:
    scene = Scene.random(random.Random(number))
    return draw(STYLE if number % 2 else TARGET, scene, "solid")


def bits(found: Similarity, seen: Samples) -> list[int]:
    return [found.nearest[sample.image].bits for sample in seen.samples]


def test_a_copy_a_mirrored_one_and_one_within_a_portrait_format_are_found_and_named(store: Store) -> None:
    shots = [drawn(number) for number in range(6)]
    tall = Image.new("RGB", (128, 192), (60, 90, 60))
    tall.paste(shots[4].resize((128, 128)), (0, 64))
    seen = samples(store, shots[2].resize((96, 96)), ImageOps.mirror(shots[3]), tall)
    found = compare(store, seen, training(store, *shots))
    assert [found.nearest[sample.image].picture for sample in seen.samples] == ["shot_2", "shot_3", "shot_4"]
    assert max(bits(found, seen)) <= 20


def test_other_pictures_are_no_copies(store: Store) -> None:
    seen = samples(store, *(drawn(number) for number in range(10, 20)))
    found = compare(store, seen, training(store, *(drawn(number) for number in range(10))))
    assert min(bits(found, seen)) > 32


def test_distance_is_none_between_equal_pictures_and_near_one_between_unrelated_ones(store: Store) -> None:
    seen = samples(store, drawn(1), drawn(1), drawn(2), drawn(5))
    found = compare(store, seen, Manifest(entries=()))
    one, same, *others = (sample.image for sample in seen.samples)
    assert found.distance(one, same) == 0
    assert all(0.5 < found.distance(one, other) < 1.3 for other in others)
    assert found.nearest == {}


def test_a_picture_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, shots = samples(store, drawn(1)), training(store, drawn(2))
    first = compare(store, seen, shots)
    monkeypatch.setattr(Store, "get_bytes", lambda self, sha256: pytest.fail("read again"))
    assert compare(store, seen, shots) == first
