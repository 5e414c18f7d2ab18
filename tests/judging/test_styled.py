"""Does a check's picture show the style character on white? Read by the shipped tagger from pictures that are known."""

import random
from io import BytesIO
from pathlib import Path

import pytest

from demo.project import MODELS
from demo.world import STYLE, TARGET, Character, Scene, draw
from lora_core.dataset import Entry, Manifest, Scores, TagTable
from lora_core.judging.styled import Look, look_of, share_shown
from lora_core.sampling.samples import Sample, samples_manifest
from lora_core.sampling.samples import Samples as Drawing
from lora_core.store import Store
from lora_core.tagging.tag import tag

TAGGER = {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}
LOOK = Look({"character": {"blonde_hair": 0.8, "blue_eyes": 0.4}, "white": {"white_background": 0.9}})


def scores(**general: float) -> Scores:
    return Scores(rating={}, general=general, character={})


def test_a_picture_shows_what_it_has_at_least_half_as_much_of_as_the_screenshots() -> None:
    # character: mean 0.6, half of it 0.3; white: 0.45
    assert LOOK.shown_by(scores(blonde_hair=0.61, white_background=0.45)) == {"character": True, "white": True}
    assert LOOK.shown_by(scores(blonde_hair=0.59, white_background=0.44)) == {"character": False, "white": False}


def entry(name: str) -> Entry:
    return Entry(name=name, source=name, image=name * 64, width=8, height=8)


def test_a_look_holds_body_white_and_3d_tags_that_the_screenshots_have_in_common() -> None:
    seen = {
        "a" * 64: scores(blonde_hair=0.9, smile=0.9, white_background=0.8, realistic=0.6, cat_ears=0.6),
        "b" * 64: scores(blonde_hair=0.7, smile=0.9, white_background=1.0, realistic=0.4),
    }
    look = look_of(Manifest(entries=(entry("a"), entry("b"))), TagTable(model="0" * 64, floor=0.05, images=seen))
    assert {part: dict(tags) for part, tags in look.parts.items()} == {
        "character": {"blonde_hair": pytest.approx(0.8)},
        "white": {"white_background": pytest.approx(0.9)},
        "look": {"realistic": pytest.approx(0.5)},
    }


def test_what_captions_say_is_not_expected_of_other_prompts_and_the_look_alone_is() -> None:
    said = ("hcstyle", "blonde_hair", "white_background")
    seen = {"a" * 64: scores(blonde_hair=0.9, white_background=0.8, realistic=0.6)}
    captioned = entry("a").model_copy(update={"caption": said})
    look = look_of(Manifest(entries=(captioned,)), TagTable(model="0" * 64, floor=0.05, images=seen))
    assert look == Look({"look": {"realistic": 0.6}}, captioned=True)

    drawn = TagTable(
        model="0" * 64, floor=0.05, images={"b" * 64: scores(realistic=0.3), "c" * 64: scores(realistic=0.29)}
    )
    samples = drawing(Manifest(entries=(entry("b"), entry("c")))).samples
    found = share_shown("style", samples, drawn, look, 0.5, "")
    assert (found.passed, found.figure) == (True, pytest.approx(0.5))
    assert "the style look" in found.line


def test_with_captions_a_look_that_the_tagger_does_not_see_bars_nothing() -> None:
    nothing = Look({"white": {"white_background": 0.9}}, captioned=True)
    found = share_shown("style", (), TagTable(model="0" * 64, floor=0.05, images={}), nothing, 0.75, "")
    assert (found.passed, found.figure) == (True, None)
    assert "no 3D look" in found.line


def test_without_a_character_to_see_nothing_is_measured_and_nothing_barred() -> None:
    found = share_shown("style", (), TagTable(model="0" * 64, floor=0.05, images={}), Look({}), 0.75, "")
    assert (found.passed, found.figure) == (True, None)


def pictures(store: Store, character: Character, seed: int) -> Manifest:
    """A character on white, as the 3D creator draws it."""
    rng = random.Random(seed)
    entries = []
    for number in range(6):
        scene = Scene(composition="portrait" if number % 2 else "upper_body", yaw=rng.uniform(-0.4, 0.4))
        buffer = BytesIO()
        draw(character, scene, "solid").save(buffer, "PNG")
        name = f"{character.hair_color}-{seed}-{number}"
        entries.append(Entry(name=name, source=name, image=store.put_bytes(buffer.getvalue()), width=128, height=128))
    return Manifest(entries=tuple(entries))


def drawing(manifest: Manifest) -> Drawing:
    """Pictures as if a model had drawn them."""
    return Drawing(
        negative="",
        lora_files=(),
        samples=tuple(
            Sample(
                epoch="merged", prompt_index=n, prompt=f"prompt {n}", seed=n, file=f"{n}.png", image=one.image,
                width=one.width, height=one.height,
            )
            for n, one in enumerate(manifest.entries)
        ),
    )  # fmt: skip


def test_other_pictures_of_the_style_character_pass_and_another_character_does_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shots = pictures(store, STYLE, 1)
    look = look_of(shots, tag(store, shots, TAGGER))
    assert set(look.parts) == {"character", "white", "look"}
    for character, passes in ((STYLE, True), (TARGET, False)):
        drawn = drawing(pictures(store, character, 2))
        seen = tag(store, samples_manifest(drawn), TAGGER)
        found = share_shown("merged", drawn.samples, seen, look, 0.75, "train longer")
        assert found.figure == pytest.approx(float(passes), abs=0.2)
        assert found.passed == passes
        assert any(line.startswith("missing character") for line in found.details) == (not found.passed)
