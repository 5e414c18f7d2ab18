import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_core.training.buckets import Placement, bucket_table, cover_bucket, fit, native_bucket, place

TABLES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "buckets.json").read_bytes())["tables"]
BUCKETED = sorted(name for name in TABLES if not name.endswith("off"))


def limits(name: str) -> tuple[int, int, int]:
    found = re.match(r"reso(\d+)_min(\d+)_max(\d+)", name)
    assert found
    return int(found[1]), int(found[2]), int(found[3])


@pytest.mark.parametrize("name", [name for name in BUCKETED if "no_upscale" not in name])
def test_buckets_agree_with_sd_scripts(name: str) -> None:
    table = bucket_table(*limits(name))
    assert [list(size) for size in table] == TABLES[name]["predefined"]
    for row in TABLES[name]["table"]:
        assert cover_bucket(tuple(row["image"]), table) == Placement(tuple(row["bucket"]), tuple(row["resized"]))


@pytest.mark.parametrize("name", [name for name in BUCKETED if "no_upscale" in name])
def test_buckets_without_enlarging_agree_with_sd_scripts_except_for_its_empty_one(name: str) -> None:
    for row in TABLES[name]["table"]:
        found = native_bucket(tuple(row["image"]), limits(name)[0])
        if 0 in row["bucket"]:
            assert found == Placement((64, 256), (64, 305))  # 63 px enlarged to one step, 300 · 64 / 63 = 304.8
        else:
            assert found == Placement(tuple(row["bucket"]), tuple(row["resized"]))


def test_copies_of_384_px_are_trained_at_384_px() -> None:
    assert place((384, 384), 384) == Placement((384, 384), (384, 384))


def test_a_picture_smaller_than_the_resolution_is_not_enlarged() -> None:
    assert place((384, 384), 512) == Placement((384, 384), (384, 384))


@pytest.mark.parametrize("side", [96, 128, 64, 200])
def test_small_resolutions_are_met_exactly_where_the_vae_allows_it(side: int) -> None:
    assert place((side, side), side).bucket == (side, side)


def test_a_wide_picture_at_a_small_resolution_gets_a_wide_bucket_of_at_most_the_same_area() -> None:
    width, height = place((1920, 1080), 128).bucket
    assert width > height
    assert width * height <= 128 * 128


def test_the_middle_is_cropped() -> None:
    picture = Image.new("RGB", (300, 100), "white")
    picture.paste("red", (100, 0, 200, 100))
    fitted = fit(picture, Placement((100, 100), (300, 100)))
    assert fitted.size == (100, 100)
    assert fitted.getcolors() == [(10000, (255, 0, 0))]


def test_shrinking_averages_areas() -> None:
    picture = Image.new("RGB", (2, 1), "black")
    picture.putpixel((1, 0), (200, 100, 50))
    assert fit(picture, Placement((1, 1), (1, 1))).getpixel((0, 0)) == (100, 50, 25)
