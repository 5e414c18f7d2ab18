"""What a person should look at, and what the recipe leaves out for it."""

import pytest

from lora_core.dataset import Entry, Flag
from lora_core.images.review import Facts, review
from lora_core.recipe import Preprocess

BEFORE = Flag(code="own_background")
FAR = ("00" * 32, "ff" * 32, "0f" * 32, "33" * 32, "55" * 32)


def _set(*facts: Facts) -> tuple[list[Entry], list[Facts]]:
    entries = [
        Entry(name=str(k), source=f"{k}.png", image=f"{k:064x}", width=8, height=8, flags=(BEFORE,) if k == 0 else ())
        for k in range(len(facts))
    ]
    return entries, list(facts)


def _facts(hash_: str, blur: float = 0.3, alpha: str = "straight") -> Facts:
    return Facts(hash_, blur, alpha)


def test_a_set_without_anything_odd_stays_as_it_is():
    entries, facts = _set(*map(_facts, FAR))
    assert review(entries, facts, Preprocess()) == (tuple(entries), ())


def test_near_duplicates_name_each_other_and_both_stay():
    entries, facts = _set(_facts("00" * 32), _facts("ff" * 32), _facts("00" * 31 + "0f"))
    kept, left_out = review(entries, facts, Preprocess())
    assert [entry.flag_texts for entry in kept] == [
        (BEFORE.text, "nearly the same as 2.png (4 of 256 bits differ)"),
        (),
        ("nearly the same as 0.png (4 of 256 bits differ)",),
    ]
    assert left_out == ()


def test_of_a_burst_only_three_partners_are_named():
    entries, facts = _set(*[_facts("00" * 32)] * 6)
    kept, _ = review(entries, facts, Preprocess())
    assert kept[5].flag_texts == (
        "nearly the same as 0.png (0 of 256 bits differ), 1.png (0 of 256 bits differ), 2.png (0 of 256 bits differ) "
        "and 2 more",
    )


def test_left_out_as_the_recipe_says_the_first_of_each_group_stays():
    # 1 is like 0, and 2 like 1 but not like 0: once 1 is gone, 2 has no twin left.
    entries, facts = _set(_facts("00" * 32), _facts("00" * 30 + "00ff"), _facts("00" * 30 + "ffff"))
    kept, left_out = review(entries, facts, Preprocess(near_duplicates="leave_out", duplicate_bits=8))
    assert [entry.name for entry in kept] == ["0", "2"]
    assert [entry.flag_texts for entry in kept] == [(BEFORE.text,), ()]
    (copy,) = left_out
    assert copy.source == "1.png"
    assert copy.reason.startswith("nearly the same as 0.png (8 of 256 bits differ)")
    assert copy.harmless, "the recipe asked for it: no reason to stop a run"
    assert copy.image == entries[1].image


def test_soft_pictures_are_flagged_with_the_figure_or_left_out():
    entries, facts = _set(_facts(FAR[0], 0.7), _facts(FAR[1], 0.65))
    kept, _ = review(entries, facts, Preprocess())
    assert [entry.flag_texts for entry in kept] == [(BEFORE.text, "soft: blur 0.70, above 0.65"), ()]
    kept, left_out = review(entries, facts, Preprocess(soft_pictures="leave_out"))
    assert [entry.name for entry in kept] == ["1"]
    assert "blur 0.70" in left_out[0].reason


def test_a_soft_picture_that_is_left_out_takes_no_near_duplicate_with_it():
    entries, facts = _set(_facts(FAR[0], 0.9), _facts(FAR[0]))
    kept, left_out = review(entries, facts, Preprocess(soft_pictures="leave_out", near_duplicates="leave_out"))
    assert [entry.name for entry in kept] == ["1"]
    assert [one.source for one in left_out] == ["0.png"]


def test_one_picture_that_stores_transparency_otherwise_is_odd():
    entries, facts = _set(*(_facts(hash_, alpha="premultiplied") for hash_ in FAR[:4]), _facts(FAR[4]))
    kept, _ = review(entries, facts, Preprocess())
    assert kept[4].flag_texts == (
        "transparency read as straight, as premultiplied in 4 others: look at its edges, or set preprocess.alpha",
    )
    assert not any(entry.flags for entry in kept[1:4])


@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        (("straight", "straight", "premultiplied"), Preprocess()),
        (("opaque", "opaque", "opaque", "opaque", "straight"), Preprocess()),
        (("premultiplied",) * 4 + ("straight",), Preprocess(alpha="straight")),
    ],
)
def test_two_programs_pictures_without_transparency_and_what_the_recipe_says_are_not_odd(kinds, options):
    entries, facts = _set(*(_facts(hash_, alpha=kind) for hash_, kind in zip(FAR, kinds, strict=False)))
    kept, _ = review(entries, facts, options)
    assert not any(entry.flags for entry in kept[1:])
