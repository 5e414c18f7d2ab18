"""The image steps: what comes out, and that nothing is done twice."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from lora_core.errors import DatasetError, ImageError
from lora_core.images import parallel, pipeline
from lora_core.images.collect import collect
from lora_core.images.pipeline import downscale, preprocess
from lora_core.images.square import square_picture
from lora_core.recipe import Preprocess

OPTIONS = Preprocess(size=128)


@pytest.fixture
def processed(monkeypatch):
    """Names of the pictures that were really worked on."""
    seen: list[str] = []
    real = pipeline.square_picture

    def watched(data, name, options):
        seen.append(name)
        return real(data, name, options)

    monkeypatch.setattr(pipeline, "square_picture", watched)
    return seen


def test_a_screenshot_becomes_a_square_picture_on_white(store, screenshots, shot):
    shot("upper_body_1.png")
    manifest = preprocess(store, collect(store, screenshots), OPTIONS)
    (entry,) = manifest.entries
    picture = Image.open(io.BytesIO(store.get_bytes(entry.image)))
    assert (picture.mode, picture.size) == ("RGB", (128, 128))
    pixels = np.asarray(picture)
    assert pixels[0].min() == 255, "above the head there is white"
    assert abs(pixels[-1, 64].astype(int) - (0xF4, 0xE2, 0xA0)).max() <= 2, "the body goes on to the lower edge"
    assert any("premultiplied" in note for note in entry.notes)
    assert (entry.width, entry.composition) == (128, "upper_body")


def test_a_second_run_processes_nothing_and_one_more_file_one(store, screenshots, shot, processed):
    for number in range(3):
        shot(f"portrait_{number}.png", shift=number)
    first = preprocess(store, collect(store, screenshots), OPTIONS)
    assert len(processed) == 3
    processed.clear()
    assert preprocess(store, collect(store, screenshots), OPTIONS) == first
    assert processed == []
    shot("portrait_new.png", shift=40)
    preprocess(store, collect(store, screenshots), OPTIONS)
    assert processed == ["portrait_new.png"]


def test_a_picture_whose_bytes_are_gone_is_made_again(store, screenshots, shot, processed):
    shot("portrait.png")
    first = preprocess(store, collect(store, screenshots), OPTIONS)
    store.path(first.entries[0].image).unlink()
    assert preprocess(store, collect(store, screenshots), OPTIONS) == first
    assert len(processed) == 2
    assert store.has(first.entries[0].image)


def test_another_option_is_another_picture(store, screenshots, shot):
    shot("portrait.png")
    raw = collect(store, screenshots)
    white = preprocess(store, raw, OPTIONS)
    green = preprocess(store, raw, Preprocess(size=128, background="#00ff00"))
    picture = Image.open(io.BytesIO(store.get_bytes(green.entries[0].image)))
    assert picture.getpixel((0, 0)) == (0, 255, 0)
    assert white != green


def test_what_cannot_be_used_is_kept_with_its_reason_even_from_the_cache(store, screenshots, shot):
    shot("portrait.png")
    Image.new("RGBA", (300, 300)).save(screenshots / "nothing.png")
    Image.new("RGB", (50, 50)).save(screenshots / "small.png")
    (screenshots / "cut.png").write_bytes((screenshots / "portrait.png").read_bytes()[:400])
    for _ in range(2):
        manifest = preprocess(store, collect(store, screenshots), OPTIONS)
        reasons = {one.source: one.reason for one in manifest.rejected}
        assert sorted(reasons) == ["cut.png", "nothing.png", "small.png"]
        assert "damaged or incomplete" in reasons["cut.png"]
        assert "wholly transparent" in reasons["nothing.png"]
        assert "smaller than 256" in reasons["small.png"]


def test_nothing_left_is_an_error_that_names_files(store, screenshots):
    Image.new("RGBA", (300, 300)).save(screenshots / "nothing.png")
    with pytest.raises(DatasetError, match=r"nothing\.png: wholly transparent"):
        preprocess(store, collect(store, screenshots), OPTIONS)


def test_progress_is_told_after_every_picture(store, screenshots, shot):
    shot("a.png")
    shot("b.png", shift=4)
    told: list[tuple[int, int]] = []
    preprocess(store, collect(store, screenshots), OPTIONS, lambda done, total, note="": told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_when_somebody_stops_it_what_has_not_begun_never_does(store, screenshots, shot, processed, monkeypatch):
    monkeypatch.setattr(parallel, "_cores", lambda: 2)  # as many threads as pictures would begin them all
    for number in range(40):
        shot(f"{number}.png", shift=number)

    def stop(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    raw = collect(store, screenshots)
    with pytest.raises(KeyboardInterrupt) as stopped:
        preprocess(store, raw, OPTIONS, stop)
    begun = len(processed)
    time.sleep(0.1)
    assert stopped.traceback, "which keeps everything alive that is in it"
    assert len(processed) == begun < 40
    assert len(preprocess(store, raw, OPTIONS).entries) == 40


def test_options_about_the_set_make_no_picture_again(store, screenshots, shot, processed):
    shot("a.png")
    raw = collect(store, screenshots)
    preprocess(store, raw, OPTIONS)
    preprocess(store, raw, OPTIONS.model_copy(update={"soft_above": 0.1, "near_duplicates": "leave_out"}))
    assert processed == ["a.png"]


def test_the_same_screenshot_gives_the_same_bytes_in_another_store(store, screenshots, shot, tmp_path):
    shot("a.png")
    other = type(store)(tmp_path / "other")
    assert preprocess(store, collect(store, screenshots), OPTIONS) == preprocess(
        other, collect(other, screenshots), OPTIONS
    )


def test_an_enlarged_picture_is_noted(straight, as_png):
    (flag,) = square_picture(as_png(straight), "x", Preprocess(size=1024)).flags
    assert flag.text == "enlarged from 270 to 1024 px: take larger screenshots"


def test_a_wholly_transparent_picture_is_refused_by_name(as_png):
    with pytest.raises(ImageError, match=r"^x\.png: wholly transparent"):
        square_picture(as_png(Image.new("RGBA", (300, 300))), "x.png", OPTIONS)


def test_copies_are_smaller_and_keep_everything_else(store, screenshots, shot):
    shot("portrait.png")
    manifest = preprocess(store, collect(store, screenshots), OPTIONS)
    captioned = manifest.model_copy(
        update={"entries": tuple(one.model_copy(update={"caption": ("x",)}) for one in manifest.entries)}
    )
    small = downscale(store, captioned, 48)
    assert Image.open(store.path(small.entries[0].image)).size == (48, 48)
    expected = captioned.entries[0].model_copy(
        update={"image": small.entries[0].image, "mask": small.entries[0].mask, "width": 48, "height": 48}
    )
    assert small.entries[0] == expected


def test_copies_are_never_enlarged(store, screenshots, shot):
    shot("portrait.png")
    manifest = preprocess(store, collect(store, screenshots), OPTIONS)
    with pytest.raises(DatasetError, match=r"portrait\.png: 128×128 pixels cannot be scaled down to 256"):
        downscale(store, manifest, 256)
