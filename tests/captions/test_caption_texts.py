"""Texts of tag editors, web UIs and keyboards: every tag is read, and what is none is named."""

import random
import re
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lora_core.captions.edit import edit
from lora_core.captions.exchange import (
    Situation,
    hand_edits,
    no_tags,
    read_texts,
    texts_of,
    with_overrides,
    write_folder,
)
from lora_core.captions.reading import caption_tags, read_caption
from lora_core.captions.rule_file import read_rules, write_overrides
from lora_core.captions.rules import Rules
from lora_core.captions.tags import caption_text, escaped, spaced
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import CaptionError
from tests.captions.conftest import above, entry_of, scores_of
from tests.support.examples import examples

FACES = (
    ":3",
    ":0",
    ">:3",
    ":d",
    ";)",
    ":)",
    ":(",
    "^_^",
    ">_<",
    "(o)_(o)",
    "|_|",
    "||_||",
    "<|>_<|>",
    ";_;",
    r"\m/",
    ":>=",
)
TAGS = (
    "1girl", "solo", "smile", "blush", "long_hair", "red_dress", "star_(symbol)", "looking_at_viewer", "nier:automata",
    "hand_on_own_hip", "score_9", "score_8_up", "source_anime", "mcdonald's", "k-pop", "2023", "!?", *FACES,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("(:3), smile", (":3", "smile")),
        ("(:0), smile", (":0", "smile")),
        ("(>:3), ((:3:1.2))", (">:3", ":3")),
        ("(smile, :)), (:), blush)", ("smile", ":)", "blush")),
        ("(smile, blush:1.2)", ("smile", "blush")),
        ("((smile, (blush:1.3)), [grin])", ("smile", "blush", "grin")),
        ("(star (symbol), star \\(sky\\):0.9)", ("star_(symbol)", "star_(sky)")),
        ("blue (eyes:1.2), ((wet)) hair", ("blue_eyes", "wet_hair")),
        ("(smile:1.2)(blush:1.1)", ("smile_blush",)),
        ("nier:automata, (nier:automata:1.3), persona 5", ("nier:automata", "persona_5")),
        ("{smile}, {{blush, grin}}, 1.2::wet hair, nose::, -1::lips::",
         ("smile", "blush", "grin", "wet_hair", "nose", "lips")),
        ("[smile|grin], {a cat|a dog}, [red:blue:0.5] hair, [nose::10]",
         ("smile", "grin", "a_cat", "a_dog", "red", "blue_hair", "nose")),
        ("1girl，solo、笑顔", ("1girl", "solo", "笑顔")),
        ("（ｓｍｉｌｅ：１．２），ｌｏｎｇ　ｈａｉｒ", ("smile", "long_hair")),
        ("1girl BREAK smile AND blush", ("1girl", "smile", "blush")),
        ("BLACK AND WHITE, 1GIRL", ("black_and_white", "1girl")),
        ("1girl long_hair smile", ("1girl", "long_hair", "smile")),
        ("1girl; long hair; ;)", ("1girl", "long_hair", ";)")),
        ("a girl with long hair", ("a_girl_with_long_hair",)),
        ("(unclosed, smile:1.2", ("unclosed", "smile")),
    ],
)  # fmt: skip
def test_a_prompts_syntax_is_read_for_the_tags_in_it(text, tags):
    assert caption_tags(text, "hc_mina") == tags
    assert not [part for part in read_caption(text).left_out if part not in ("BREAK", "AND")]


@pytest.mark.parametrize(
    ("text", "tags", "left_out"),
    [
        ("smile, <lora:some style:0.8>, grin", ("smile", "grin"), ("<lora:some style:0.8>",)),
        ("<hypernet:x:1> smile <lyco:a,b:0.5>", ("smile",), ("<hypernet:x:1>", "<lyco:a,b:0.5>")),
        ("smile BREAK grin", ("smile", "grin"), ("BREAK",)),
        ("__hair/colour__, embedding:easynegative, smile, (:1.2)", ("smile",),
         ("__hair/colour__", "embedding:easynegative", "(:1.2)")),
        ("smile\nNegative prompt: bad hands\nSteps: 20, Sampler: Euler a", ("smile",),
         ("Negative prompt: bad hands\nSteps: 20, Sampler: Euler a",)),
    ],
)  # fmt: skip
def test_what_is_of_a_prompt_and_no_tag_is_named(text, tags, left_out):
    assert caption_tags(text, "hc_mina") == tags
    assert read_caption(text).left_out == left_out


@pytest.mark.parametrize(
    "text", ["(hc_Mina:1.2), smile", "((hc_Mina)),smile", "｛hc_Mina｝、smile", "1.1::hc_Mina::, smile"]
)
def test_the_trigger_is_found_in_its_weights_too(text):
    assert caption_tags(text, "hc_Mina") == ("hc_Mina", "smile")


@pytest.mark.parametrize("tag", ["score_9", "score_8_up", "source_anime", "rating_safe", "t_t", ";_;"])
def test_words_that_models_know_by_their_underscores_keep_them(tag):
    rules = Rules(add=(tag,))
    made = edit(entry_of(), scores_of(), rules, "hc_mina", above(0.5)).tags
    assert tag in caption_text(made, "hc_mina").split(", ")
    assert spaced(tag) == tag


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.caption", "a.TXT", "a.png.txt", "10_mina/a.txt"])
def test_a_caption_is_read_whatever_its_ending_and_encoding(tmp_path, name, encoding):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("1girl, 笑顔\r\n".encode(encoding))
    assert {name: caption_tags(text, "t") for name, text in read_texts(tmp_path).items()} == {"a": ("1girl", "笑顔")}


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", "猫".encode("shift-jis"), b"abc\x00\x00\x00\x00"])
def test_what_is_no_text_is_refused_by_name(tmp_path, data):
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(CaptionError, match=r"a\.txt: not UTF-8 or UTF-16; save it as UTF-8 text"):
        read_texts(tmp_path)


def test_two_captions_of_one_picture_must_say_the_same(tmp_path):
    (tmp_path / "a.txt").write_text("smile")
    (tmp_path / "a.caption").write_text("smile")
    assert read_texts(tmp_path) == {"a": "smile"}
    (tmp_path / "a.caption").write_text("a photo of a girl")
    with pytest.raises(CaptionError, match=r"a\.txt: there is another a\.caption in .* something else; keep one"):
        read_texts(tmp_path)


# ── five hundred captions, in and out ────────────────────────────────────────────────────────────────────────────────

Write = Callable[[random.Random, list[str]], str]


def _weighed(dice: random.Random, tags: list[str]) -> str:
    """A1111: spaces, escapes, weights around one tag or several, line ends, sometimes a network."""
    said = [escaped(spaced(tag)) for tag in tags]
    first = dice.randrange(len(said))
    last = dice.randint(first, len(said) - 1)
    opened, closed = dice.choice((("(", ")"), ("((", "))"), ("(", ":1.2)"), ("[", "]"), ("(", ":.85)")))
    said[first], said[last] = opened + said[first], said[last] + closed
    return dice.choice((", ", ",", ",\n")).join(said) + dice.choice(("", ", <lora:pose_v2:0.7>", ",\n BREAK", ","))


def _editors(dice: random.Random, tags: list[str]) -> str:
    """BooruDatasetTagManager: one tag a comma, its weight in brackets, doubles as weights."""
    forms = ("{}", "({}:1.1)", "({})", "(({}))", "{}")
    return ", ".join(dice.choice(forms).format(escaped(spaced(tag)) if dice.random() < 0.5 else tag) for tag in tags)


def _novelai(dice: random.Random, tags: list[str]) -> str:
    """NovelAI: braces, square brackets, numbers with double colons."""
    forms = ("{}", "{{{}}}", "{{{{{}}}}}", "[{}]", "1.3::{} ::", "0.7::{}::")
    return ", ".join(dice.choice(forms).format(spaced(tag)) for tag in tags)


def _wide(dice: random.Random, tags: list[str]) -> str:
    """A Japanese keyboard: wide letters, blanks, commas and brackets, as they come."""
    wide = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
    said = (spaced(tag).translate(wide) if dice.random() < 0.5 else spaced(tag) for tag in tags)
    return dice.choice(("、", "，", "， ", "､")).join(said)


STYLES: tuple[Write, ...] = (_weighed, _editors, _novelai, _wide)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")


def test_five_hundred_captions_go_in_and_out_without_a_lost_tag(store, tmp_path):
    dice, wanted = random.Random(5), {}
    (tmp_path / "in").mkdir()
    for number in range(500):
        tags = dice.sample(TAGS, dice.randint(2, 12))
        name, framing = f"{number:03}", dice.choice(("portrait", "upper_body"))
        text = STYLES[number % 4](dice, ["hc_mina", framing, *tags])
        path = tmp_path / "in" / f"{name}{dice.choice(('.txt', '.caption'))}"
        path.write_bytes(text.encode(dice.choice(ENCODINGS)))
        wanted[name] = {"hc_mina", framing, *tags}
    image = store.put_bytes(b"picture")
    bare = Manifest(entries=tuple(entry_of(name, composition=None, image=image) for name in wanted))
    nothing = TagTable(model=image, floor=0.05, images={image: Scores(rating={}, general={}, character={})})
    texts = texts_of(bare, read_texts(tmp_path / "in"))
    assert {name: set(caption_tags(text, "hc_mina")) for name, text in texts.items()} == wanted
    assert {part for left_out in no_tags(texts).values() for part in left_out} == {"<lora:pose_v2:0.7>", "BREAK"}

    (tmp_path / "captions.toml").write_text('trigger = "hc_mina"\n# mine\n')
    situation = Situation(read_rules(tmp_path / "captions.toml"), "hc_mina", above(0.5))
    edits = hand_edits(texts, bare, nothing, situation)
    write_overrides(tmp_path / "captions.toml", {name: one.override for name, one in edits.items()})
    rules = read_rules(tmp_path / "captions.toml")
    assert rules == with_overrides(situation.rules, edits)
    made = tuple(
        entry.model_copy(update={"caption": edit(entry, nothing.of(entry), rules, "hc_mina", above(0.5)).tags})
        for entry in bare.entries
    )
    write_folder(store, Manifest(entries=made), tmp_path / "out", trigger="hc_mina", escape=True)
    again = texts_of(bare, read_texts(tmp_path / "out"))
    assert {name: set(caption_tags(text, "hc_mina")) for name, text in again.items()} == wanted


# ── any text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SYNTAX = (
    *"()[]{}<>:,|\\;_ \n、（）", 
    ":1.2)", "::", "((", "))", "BREAK", " AND ", "<lora:", "1.5::", ":3", "^_^", "smile", "a b", "x_y z",
)  # fmt: skip


@examples(500)
@given(st.lists(st.sampled_from(SYNTAX), max_size=14).map("".join) | st.text(max_size=24))
@example("[from:to:0.5]")
@example("(" * 200 + "smile" + ":1.1)" * 200)
def test_any_text_is_read_without_losing_a_word(text):
    reading = read_caption(text)
    kept = Counter("".join((*(part.tag for part in reading.parts), *reading.left_out)))
    for letter, count in Counter(re.sub(r"[^a-z]", "", text)).items():
        assert kept[letter] >= count
    for part in reading.parts:
        assert part.tag == part.tag.strip() != ""
    tags = caption_tags(text, "hc_mina")
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("style", STYLES)
def test_a_thousand_captions_of_every_style_say_the_same_tags(style):
    dice = random.Random(style.__name__)
    for _ in range(1000):
        tags = ["hc_mina", *dice.sample(TAGS, dice.randint(1, 9))]
        text = style(dice, tags)
        assert set(caption_tags(text, "hc_mina")) == set(tags), text


@given(st.lists(st.sampled_from(TAGS), min_size=1, unique=True), st.booleans())
def test_what_is_written_is_read_back(tags, escape):
    text = caption_text(("hc_mina", *tags), "hc_mina")
    assert caption_tags(escaped(text) if escape else text, "hc_mina") == ("hc_mina", *tags)


def test_a_megabyte_of_brackets_is_read_at_once():
    assert caption_tags("(" * 500_000 + "smile" + ")" * 500_000, "t") == ("smile",)
