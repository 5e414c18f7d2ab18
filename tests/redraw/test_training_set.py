"""What the final LoRA is trained on: captions, screenshots beside it, and who is drawn at all."""

import pytest

from lora_core.captions.caption import EditedCaptions
from lora_core.captions.edit import Change, Edited
from lora_core.captions.rules import Override, Rules, redrawn_rules
from lora_core.dataset import Entry, Manifest
from lora_core.errors import RecipeError
from lora_core.recipe import Redraw
from lora_core.redraw.choose import chosen_set, figure_of, screenshots_of, with_screenshots
from lora_core.redraw.judgement import Judgement, Selection
from lora_core.redraw.scenes import Scene, Seen


def _entry(name: str, *caption: str) -> Entry:
    return Entry(name=name, source=name, image="0" * 64, width=8, height=8, caption=caption)


def _captions(*traits: str) -> EditedCaptions:
    changes = tuple(Change(trait, "removed", "traits", "") for trait in traits)
    edited = Edited("a", (), ("momo", "1girl", "solo"), changes)
    return EditedCaptions(trigger="momo", manifest=Manifest(entries=()), edited=(edited,))


def test_the_traits_are_what_the_captions_leave_out_unless_the_recipe_names_others() -> None:
    rules = Rules(memorize=("pink_hair",))
    assert figure_of(_captions("pink_hair", "cat_ears"), rules, Redraw()).traits == ("cat_ears", "pink_hair")
    named = figure_of(_captions("pink_hair"), rules, Redraw(traits=("red hair",)))
    assert (named.traits, named.people, named.trigger) == (("red_hair",), ("1girl", "solo"), "momo")


def test_the_character_may_show_what_is_read_on_one_in_twenty_screenshots_and_what_somebody_says_of_them() -> None:
    """Of forty, a tag that one has alone is taken for a slip of the tagger's."""
    before = [("pink_hair", "cat_ears"), ("pink_hair", "cat_ears"), ("pink_hair", "horns"), *[("pink_hair",)] * 37]
    edited = tuple(Edited(str(n), read, ("momo", "green_eyes"), ()) for n, read in enumerate(before))
    captions = EditedCaptions(trigger="momo", manifest=Manifest(entries=()), edited=edited)
    assert figure_of(captions, Rules(), Redraw(traits=("pink hair",))).seen == (
        "green_eyes", "momo", "pink_hair", "cat_ears",
    )  # fmt: skip


def test_a_screenshot_to_begin_with_says_what_its_caption_says_but_nothing_of_the_look() -> None:
    """One without a framing cannot be placed and is left out."""
    rules = Rules(add=("realistic",), face=("nose",))
    tags = (("momo", "realistic", "portrait", "1girl", "nose", "3d", "smile"), ("momo", "realistic", "smile"))
    entries = (_entry("a").model_copy(update={"outfit": "armour"}), _entry("b"))
    edited = tuple(Edited(entry.name, (), own, ()) for entry, own in zip(entries, tags, strict=True))
    captions = EditedCaptions(trigger="momo", manifest=Manifest(entries=entries), edited=edited)
    assert screenshots_of(captions, rules) == (Seen("a", "portrait", ("armour", "portrait", "1girl", "smile")),)


def test_an_outfit_among_the_traits_is_known_as_one() -> None:
    rules = Rules(memorize=("pink_hair",), outfit=("blue_*",))
    assert figure_of(_captions("pink_hair", "blue_dress"), rules, Redraw()).has_outfit
    assert not figure_of(_captions("pink_hair"), rules, Redraw()).has_outfit


def test_a_character_without_any_trait_is_refused_in_one_line_that_says_what_to_do() -> None:
    with pytest.raises(RecipeError, match=r"no trait to name.*\[redraw\] traits"):
        figure_of(_captions(), Rules(), Redraw())


def test_redrawn_pictures_are_captioned_without_what_soaks_up_the_look_and_without_overrides() -> None:
    rules = redrawn_rules(Rules(memorize=("pink_hair",), drop=("blush",), images={"shot": Override(drop=("smile",))}))
    assert (rules.add, rules.face, rules.images) == ((), (), {})
    assert (rules.memorize, rules.drop) == (("pink_hair",), ("blush",))


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.2, 2), (0.5, 4)])
def test_so_large_a_share_of_the_set_are_screenshots_from_all_over_theirs(share: float, count: int) -> None:
    redrawn = Manifest(entries=tuple(_entry(f"redrawn-{n:03d}", "momo") for n in range(8)))
    shots = Manifest(entries=tuple(_entry(f"shot {n}", "momo", "1girl") for n in range(4)))
    mixed = with_screenshots(redrawn, shots, share, "hclook")
    assert mixed.entries[:8] == redrawn.entries
    added = mixed.entries[8:]
    assert [entry.name for entry in added] == {0: [], 2: ["shot 0", "shot 2"], 4: [f"shot {n}" for n in range(4)]}[
        count
    ]
    assert all(entry.caption == ("momo", "hclook", "1girl") for entry in added)


def test_chosen_pictures_keep_the_composition_and_the_view_that_the_tagger_read() -> None:
    scene = Scene(framing="portrait", clothes="", pose="", place="", prompt="momo, portrait", seed=1)
    rows = [
        Judgement(name=name, image="0" * 64, width=8, height=8, scene=scene, composition="upper_body",
                  view=("from_side",), code=code)
        for name, code in (("redrawn-001", "chosen"), ("redrawn-002", "spare"))
    ]  # fmt: skip
    (entry,) = chosen_set(Selection.model_validate({"pictures": rows, "wanted": 1, "scores": {}})).entries
    assert (entry.name, entry.composition, entry.view) == ("redrawn-001", "upper_body", ("from_side",))
