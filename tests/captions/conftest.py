"""A set of two pictures with raw scores."""

import io
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from lora_core.captions.edit import Select
from lora_core.dataset import Entry, Manifest, Scores, TagTable
from lora_core.store import Store
from lora_core.store.digests import digest_of
from lora_core.tagging.select import Thresholds, select

GENERAL = {
    "1girl": 0.99,
    "solo": 0.97,
    "blonde_hair": 0.96,
    "brown_hair": 0.55,
    "long_hair": 0.9,
    "cat_ears": 0.8,
    "closed_eyes": 0.7,
    "adjusting_hair": 0.6,
    "star_(symbol)": 0.52,
    "full_body": 0.62,
    "cowboy_shot": 0.51,
    "white_background": 0.93,
    "red_dress": 0.88,
    "virtual_youtuber": 0.66,
    "from_side": 0.5,
    "straight-on": 0.58,
    "nose": 0.2,
    "lips": 0.1,
    "smile": 0.4,
}


def entry_of(name: str = "a", **changes) -> Entry:  # type: ignore[no-untyped-def]
    known = {"source": f"{name}.png", "image": digest_of(name.encode()), "width": 8, "height": 8}
    return Entry(name=name, composition=changes.pop("composition", "upper_body"), **{**known, **changes})


def scores_of(general: dict[str, float] | None = None, **changes) -> Scores:  # type: ignore[no-untyped-def]
    return Scores(
        rating=changes.pop("rating", {"general": 0.9, "sensitive": 0.2}),
        general=GENERAL if general is None else general,
        character=changes.pop("character", {"hakurei_reimu": 0.6}),
    )


def above(threshold: float) -> Select:
    """Tags at or above a probability."""
    return partial(select, least=Thresholds(general=threshold, character=threshold))


@pytest.fixture
def half() -> Select:
    """The method's threshold."""
    return above(0.5)


@pytest.fixture
def entry():  # type: ignore[no-untyped-def]
    return entry_of


@pytest.fixture
def scores():  # type: ignore[no-untyped-def]
    return scores_of


@pytest.fixture
def table():  # type: ignore[no-untyped-def]
    def make(**images: Scores) -> TagTable:
        return TagTable(
            model=digest_of(b"model"), floor=0.05, images={digest_of(n.encode()): one for n, one in images.items()}
        )

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def captioned(store: Store) -> Manifest:
    """Two pictures with captions, really in the store."""
    entries = []
    for name, caption in (
        ("a", ("hc_mina", "1girl", "upper_body", "star_(symbol)", "^_^")),
        ("b", ("hc_mina", "1girl", "portrait", "closed_eyes")),
    ):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), "#ffffff" if name == "a" else "#ff0000").save(buffer, "PNG")
        image = store.put_bytes(buffer.getvalue())
        entries.append(entry_of(name, image=image, caption=caption, composition=caption[2]))
    return Manifest(entries=tuple(entries))
