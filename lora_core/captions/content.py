"""The content rule: adult or non-sexual characters only. It has no switch, no threshold of its own and no option.

Everything that goes into one LoRA, one merge or one drawing is looked at together: one picture that codes a minor and
another that is sexual, in the character's set or in the style's, are refused, and so is a prompt, a trigger, a name or
what a LoRA was trained on that says the one or the other. Only negative prompts are not asked: they say what is not
wanted. What counts as a sign is in content_words.json.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from lora_core.captions.rules import Rules
from lora_core.captions.signs import is_sign, minor_sign, names, rating_kind, sexual_sign
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import ContentRuleError, TaggerError
from lora_core.recipe import Recipe
from lora_core.store.digests import file_digest
from lora_core.tagging.labels import RATING, Label, read_labels

# Fixed, so that the caption threshold cannot move it, and below the point where precision equals recall of every
# published WD14 tagger (.26 for the v3 ViT, .27 v3 swin, .38 v2 swin, .53 v3 EVA02): what the tagger itself would call
# present counts, whichever tagger the recipe names. Ratings are outputs of the same sigmoids, of which one is true of a
# picture: that one of the sexual ones is, is as likely as their sum.
_PRESENT = 0.25
_LONGEST = 60


class Said(NamedTuple):
    """A text, and where it was found: in words for a person."""

    where: str
    text: str


class _Signs(NamedTuple):
    """Of one text or tag: what in it codes a minor, and what is sexual."""

    where: str
    minor: str | None
    sexual: str | None


def check(sets: Iterable[tuple[Manifest, TagTable]], words: Iterable[str | Said] = ()) -> None:
    """Refuse what is sexual and codes a minor.

    Tags are taken from the raw scores and from the captions, so that no edit hides them.

    Args:
        sets: pictures, with or without captions, and their raw scores.
        words: triggers, names, class words, prompts: whatever is said of the characters, but not negative prompts.

    Raises:
        ContentRuleError: nothing may be made of this.
    """
    minor = sexual = ""
    for found in (*_in_words(words), *_in_sets(sets)):
        minor = minor or (f"{found.where} codes a minor ({found.minor})" if found.minor else "")
        sexual = sexual or (f"{found.where} is sexual ({found.sexual})" if found.sexual else "")
        if minor and sexual:
            raise ContentRuleError(
                f"content rule: {minor} and {sexual}. Nothing is trained, merged or drawn from both, and nothing "
                "turns this rule off"
            )


def named(name: str) -> Said:
    """The own name of a model, a folder or a repository, without what is above it and without a commit."""
    own = PurePath(name.partition("@")[0]).name
    return Said(f"the name {own}", own)


def _in_words(words: Iterable[str | Said]) -> Iterator[_Signs]:
    for each in words:
        said = each if isinstance(each, Said) else Said(f"'{_shortened(each)}'", each)
        yield _Signs(_shortened(said.where), minor_sign(said.text), sexual_sign(said.text))


def _in_sets(sets: Iterable[tuple[Manifest, TagTable]]) -> Iterator[_Signs]:
    for manifest, table in sets:
        if manifest.entries and table.floor > _PRESENT:
            raise ContentRuleError(
                f"content rule: these scores leave out what is less likely than {table.floor:g}, and what is likelier "
                f"than {_PRESENT:g} must be known; tag the pictures with `headcanon tag`"
            )
        for entry in manifest.entries:
            scores, where = table.of(entry), _shortened(entry.source)
            yield from _in_words((Said(f"the name {where}", entry.source),))
            yield _Signs(where, None, _sexual_rating(scores))
            for tag in sorted(filter(is_sign, {*_present(scores), *(entry.caption or ())})):
                what = _shortened(tag)
                yield _Signs(where, what if minor_sign(tag) else None, what if sexual_sign(tag) else None)


def _present(scores: Scores) -> Iterator[str]:
    for found in (scores.general, scores.character):
        yield from (tag for tag, score in found.items() if score >= _PRESENT)


def _sexual_rating(scores: Scores) -> str | None:
    """The likeliest of the sexual ratings, if one of them is as likely as a tag that counts."""
    found = {name: score for name, score in scores.rating.items() if rating_kind(name, head=True) == "sexual"}
    for tags in (scores.general, scores.character):
        found.update((tag, score) for tag, score in tags.items() if _is_sexual_rating(tag))
    return f"rating {max(found, key=lambda name: found[name])}" if sum(found.values()) >= _PRESENT else None


@functools.lru_cache(maxsize=65536)
def _is_sexual_rating(tag: str) -> bool:
    return rating_kind(tag, head=False) == "sexual"


def _shortened(text: str) -> str:
    """A text that others wrote, fit for one line of a message."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown}…"


def words_of(recipe: Recipe, rules: Rules) -> tuple[str | Said, ...]:
    """Names, triggers, class words, prompts and tags of a recipe and its caption rules."""
    names = (
        recipe.base.model, *recipe.style.folders, *recipe.character.folders, recipe.publish.version,
        recipe.publish.repository, *recipe.sampling.transfer,
    )  # fmt: skip
    drawn = recipe.sampling
    said = recipe.name, recipe.trigger, _style_words(recipe), drawn.template, *drawn.prompts, *drawn.style_prompts
    return *said, *_redrawn_words(recipe), *rules.words(), *(named(name) for name in names if name)


def _redrawn_words(recipe: Recipe) -> tuple[str, ...]:
    """What the character is drawn with again."""
    one = recipe.redraw
    return (one.prompt, *one.traits, *one.clothes, *one.poses, *one.scenes) if one.use else ()


def style_words_of(recipe: Recipe) -> tuple[str | Said, ...]:
    """What goes into the style LoRA and the merged model, which many characters may share."""
    names = (named(name) for name in (recipe.base.model, *recipe.style.folders))
    return _style_words(recipe), recipe.sampling.template, *recipe.sampling.style_prompts, *names


def _style_words(recipe: Recipe) -> str:
    return f"{recipe.style.identifier} {recipe.style.class_word}"


_MODEL, _TABLE = "model.onnx", "selected_tags.csv"
# The demo's tagger knows the 80 words of a world that this project draws itself, of one clothed figure (demo/world):
# there is nothing else in it to be seen. It is the only exception, known by its bytes.
_DRAWN_WORLD = {
    _MODEL: "cd0b6b14c9e70bfb3d4e34c8135cc96571676c5cab6ff5599f7f68c6b5f2d338",
    _TABLE: "16c02b7d6fc61c2aaeec03ca08a8842262e00d915e465a0b0c6a870ea6636e61",
}
# And only beside a base as small as the demo's and the tests' own: the smallest model that draws people has ten times
# as many bytes, so this tagger lets nothing pass that such a one would be trained on.
_LARGEST_DRAWN_BASE_BYTES = 128 * 1024**2


def check_tagger(tagger: Mapping[str, Path], base: Mapping[str, Path], name: str) -> None:
    """Refuse a tagger that has no words for a minor, or none for what is sexual; `base` are the files to be trained.

    Raises:
        TaggerError: what the rule forbids could not be seen; or the label table cannot be read.
    """
    lacks = tuple(_lacks(read_labels(tagger[_TABLE])))
    if lacks and not _is_demo(tagger, base):
        raise TaggerError(
            f"{name}: this tagger has {' and '.join(lacks)}, so the content rule could not see what it must; take one "
            "of general vocabulary, such as SmilingWolf/wd-v1-4-swinv2-tagger-v2"
        )


def _lacks(labels: Iterable[Label]) -> Iterator[str]:
    known = [label for label in labels if label.name]
    if not any(names(label.name, "minor") for label in known):
        yield "no tag that names a minor"
    if not any(names(label.name, "sexual") or _is_sexual_label(label) for label in known):
        yield "neither sexual ratings nor a tag of nudity"


def _is_sexual_label(label: Label) -> bool:
    return rating_kind(label.name, head=label.category == RATING) == "sexual"


def _is_demo(tagger: Mapping[str, Path], base: Mapping[str, Path]) -> bool:
    return sum(path.stat().st_size for path in base.values()) <= _LARGEST_DRAWN_BASE_BYTES and all(
        file_digest(tagger[part]) == digest for part, digest in _DRAWN_WORLD.items()
    )
