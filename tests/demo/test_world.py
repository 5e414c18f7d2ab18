"""The drawn world: same seed, same picture; tags say what is drawn; screenshots look like a 3D creator's."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.sheet import tile, world_sheet
from demo.world import STYLE, TARGET, Character, Scene, draw, draw_rgba, picture_tags, prompt_text, screenshots
from demo.world.palette import CLOTHES, EYES, HAIR
from demo.world.screenshot import PLAN, premultiplied, screenshot_tags
from demo.world.tags import VOCABULARY

FRONT = Scene(composition="portrait")


def _distance(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return np.abs(np.asarray(picture.convert("RGB"), np.int16) - np.array(colour)).sum(2)


@pytest.mark.parametrize("look", ["flat", "solid"])
def test_the_same_seed_draws_the_same_picture(look: str) -> None:
    one, two = (draw(Character.random(random.Random(5)), Scene.random(random.Random(5)), look) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    assert one.size == (128, 128)
    assert one.mode == "RGB"


def test_different_seeds_draw_different_characters() -> None:
    rng = random.Random(0)
    assert len({Character.random(rng) for _ in range(50)}) > 45


@pytest.mark.parametrize("color", sorted(HAIR))
def test_the_hair_has_the_colour_that_the_tag_names(color: str) -> None:
    character = TARGET.model_copy(update={"hair_color": color})
    assert f"{color}_hair" in character.tags()
    assert (_distance(draw_rgba(character, FRONT), HAIR[color]) < 12).mean() > 0.08


@pytest.mark.parametrize("color", sorted(EYES))
def test_the_eyes_have_the_colour_that_the_tag_names(color: str) -> None:
    character = TARGET.model_copy(update={"eye_color": color})
    close = Scene(composition="close-up")
    assert f"{color}_eyes" in character.tags()
    assert (_distance(draw_rgba(character, close), EYES[color]) < 40).sum() > 80


@pytest.mark.parametrize("color", sorted(CLOTHES))
def test_the_dress_has_the_colour_that_the_tag_names(color: str) -> None:
    character = TARGET.wearing("dress", color)
    assert f"{color}_dress" in character.tags()
    assert (_distance(draw_rgba(character, Scene(composition="cowboy_shot")), CLOTHES[color]) < 12).mean() > 0.03


def test_solid_tags_say_so_and_flat_ones_do_not() -> None:
    assert {"realistic", "nose", "lips"} <= set(picture_tags(TARGET, FRONT, "solid"))
    assert not {"realistic", "nose", "lips", "3d"} & set(picture_tags(TARGET, FRONT, "flat"))


def test_every_tag_is_in_the_vocabulary_once() -> None:
    rng = random.Random(1)
    seen = {tag for _ in range(400) for tag in picture_tags(Character.random(rng), Scene.random(rng), "solid")}
    assert seen == set(VOCABULARY)
    assert len(set(VOCABULARY)) == len(VOCABULARY)


def test_every_scene_has_one_framing_and_one_view() -> None:
    rng = random.Random(2)
    for _ in range(200):
        tags = set(Scene.random(rng).tags())
        assert len(tags & {"close-up", "portrait", "upper_body", "cowboy_shot"}) == 1
        assert len(tags & {"straight-on", "from_side", "from_above", "from_below"}) == 1


def test_prompts_are_written_with_spaces_and_commas() -> None:
    assert prompt_text(("1girl", "pink_hair")) == "1girl, pink hair"


def test_flat_and_solid_stand_in_the_same_place() -> None:
    flat, solid = (np.asarray(draw_rgba(TARGET, FRONT, look))[..., 3] > 128 for look in ("flat", "solid"))
    assert (flat & solid).sum() / (flat | solid).sum() > 0.9


def test_style_and_target_share_no_identity_tag_but_their_skin() -> None:
    assert not set(TARGET.identity_tags()) & set(STYLE.identity_tags())


def test_premultiplying_leaves_no_channel_above_alpha() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8), "RGBA")
    values = np.asarray(premultiplied(picture))
    assert (values[..., :3].max(2) <= values[..., 3]).all()


def test_screenshots_follow_the_plan(tmp_path: Path) -> None:
    paths = screenshots(TARGET, tmp_path, seed=1, plan={"close-up": 1, "upper_body": 2})
    assert [path.name for path in paths] == ["close-up_001.png", "upper_body_001.png", "upper_body_002.png"]
    for path in paths:
        picture = Image.open(path)
        values = np.asarray(picture)
        assert picture.size == (1920, 1080)
        assert picture.mode == "RGBA"
        assert (values[..., :3].max(2) <= values[..., 3]).all()
        # Uncut but for the lower edge.
        assert not values[0, :, 3].any()
        assert not values[:, [0, -1], 3].any()
        assert values[-1, :, 3].any()


def test_the_plan_is_the_notes() -> None:
    assert PLAN == {"close-up": 1, "portrait": 11, "upper_body": 18, "cowboy_shot": 8}
    names = screenshot_tags(STYLE, seed=3)
    assert Counter(name.rpartition("_")[0] for name in names) == PLAN


def test_the_sheet_holds_all_pictures() -> None:
    assert world_sheet(columns=4, rows=2, size_px=32).size == (4 * 34 + 2, 2 * 34 + 2)
    assert tile([draw(TARGET, FRONT, size_px=16)] * 3, 2).size == (38, 38)
