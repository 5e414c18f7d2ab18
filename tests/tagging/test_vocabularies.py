"""Every word that the product relies on is in the table of taggers' vocabularies; the page says what is missing."""

import csv
from pathlib import Path

from lora_core.bases.presets import base_presets
from lora_core.captions.signs import minor_sign, sexual_sign
from lora_core.captions.taxonomy import family_of, is_framing
from lora_core.dataset import HEIGHTS, SIDES
from lora_core.judging.evidence import PLAIN_TAGS
from lora_core.judging.look import LOOK_WORDS
from lora_core.recipe import COMPOSITIONS, LEAK_TAGS, Captions

_GOLDEN = Path(__file__).parents[1] / "golden"
_PAGE = (Path(__file__).parents[2] / "docs/bases.md").read_text()


def table() -> dict[str, dict[str, str]]:
    with (_GOLDEN / "wd_words.csv").open() as file:
        return {row["word"]: row for row in csv.DictReader(file)}


def canonical(word: str) -> str:
    return word.strip().replace("\\", "").replace(" ", "_")


def relied_upon() -> set[str]:
    presets = {word for preset in base_presets() for words in preset.sections["captions"].values() for word in words}
    look = {canonical(word) for words in LOOK_WORDS for word in words.split(",")}
    plain = Captions()
    return {*LEAK_TAGS, *PLAIN_TAGS, *COMPOSITIONS, *SIDES, *HEIGHTS, *plain.add, *plain.face, *presets, *look}


def test_every_word_that_the_product_relies_on_is_in_the_table() -> None:
    assert relied_upon() <= set(table())


def test_the_table_agrees_with_the_head_of_a_published_one() -> None:
    with (_GOLDEN / "wd_labels_300.csv").open() as file:
        head = {row["name"] for row in csv.DictReader(file) if row["name"]}
    both = head & set(table())
    assert len(both) > 10
    assert {table()[word]["v2"] for word in both} == {"yes"}


def test_what_taggers_lack_is_on_the_page() -> None:
    lacking = {word for word, row in table().items() if "no" in (row["v2"], row["v3"])}
    assert {"3d"} <= lacking
    for word in lacking:
        assert f"`{word.replace('_', ' ')}`" in _PAGE, word


def test_a_look_is_measured_with_what_every_wd_tagger_has() -> None:
    """`3d` stands in no WD table, so three of the four look tags carry the measure."""
    assert [tag for tag in LEAK_TAGS if table()[tag]["v2"] == table()[tag]["v3"] == "yes"] == [
        "realistic", "nose", "lips",
    ]  # fmt: skip


def test_the_tables_groups_are_what_the_product_takes_their_words_for() -> None:
    groups: dict[str, set[str]] = {}
    for word, row in table().items():
        groups.setdefault(row["group"], set()).add(word)
    assert {word for word in table() if minor_sign(word)} == groups["codes a minor"]
    assert {word for word in table() if sexual_sign(word)} == groups["sexual"] | {"questionable", "explicit"}
    assert not [word for word in groups["trait"] if family_of(word) is None]
    assert all(is_framing(word) for word in groups["framing"])
