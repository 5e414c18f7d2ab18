"""What docs/captions.md shows is what comes out."""

import re
import tomllib
from pathlib import Path

import pytest

from lora_core.captions import taxonomy
from lora_core.captions.caption import caption, lines
from lora_core.captions.rules import Override, Rules
from lora_core.captions.tags import caption_text
from lora_core.dataset import Manifest
from lora_core.diffusion.tokenizer import token_counter
from lora_core.recipe import Character

PAGE = (Path(__file__).parents[2] / "docs" / "captions.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SEEN = """1girl solo blonde_hair long_hair elf pointy_ears blue_eyes smile white_dress hair_bow simple_background
    portrait"""


@pytest.fixture
def rules():
    (block,) = (text for language, text in BLOCKS if language == "toml" and text.startswith("trigger"))
    return Rules.model_validate(tomllib.loads(block))


def test_the_rule_file_of_the_page_has_every_rule_but_comparisons_and_outfits(rules):
    assert set(Rules.model_fields) - rules.model_fields_set == {"prune", "outfits"}
    assert rules.images["portrait_07"].model_fields_set == set(Override.model_fields)


def test_the_outfits_of_the_page_are_a_recipes():
    (block,) = (tomllib.loads(text)["character"] for _, text in BLOCKS if text.startswith("[character]"))
    dress, casual = Character.model_validate(block).wardrobe
    assert (dress.words, casual.words, casual.repeats) == ("momo dress", "momo hoodie", 20)
    assert casual.tags == ("green hoodie", "jeans")


def test_the_picture_of_the_page_gets_the_caption_of_the_page(rules, entry, table, scores, half):
    general = {tag: 0.99 - number / 100 for number, tag in enumerate(SEEN.split())}
    manifest = Manifest(entries=(entry("portrait_07", composition="portrait"),))
    tags = table(portrait_07=scores(general, character={"hatsune_miku": 0.6}))
    (edited,) = caption(manifest, tags, rules, "", half)[1]
    tokens = token_counter()(caption_text(edited.tags, "hcaiko"))
    (shown,) = (text for _, text in BLOCKS if text.startswith("portrait_07"))
    assert shown.splitlines() == list(lines(edited, "hcaiko", tokens))


def test_the_families_of_the_page_are_those_of_the_taxonomy():
    listed = dict(re.findall(r"^\| (body|accessories) \| (.*) \|$", PAGE, re.MULTILINE))
    assert {group: tuple(names.split(", ")) for group, names in listed.items()} == taxonomy.groups()
