"""The content rule: adult or non-sexual characters only. It has no switch, no threshold of its own and no option.

A set of pictures shows one character. So signs are looked for over the whole set: one picture that codes a minor and
another that is sexual are refused together.
"""

import re
from collections.abc import Iterable, Iterator

from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import ContentRuleError

# Fixed, so that the caption threshold cannot move it.
_PRESENT = 0.35

_MINOR = re.compile(
    r"(fe)?male_child|child(ren)?|child_on_child|toddler|baby|infant|(oppai_)?loli(con)?|shota(con)?|"
    r"(kindergarten|elementary_school)_.*|kindergartener|randoseru|aged_down|age_regression|preteen|underage|young_(girl|boy)"
)
_NUDITY = re.compile(
    r"(completely_|partially_)?nude|topless(_(fe)?male)?|bottomless|nipples?|areolae?|areola_slip|nipple_slip|pussy|penis|"
    r"vaginal|anal|anus|sex|.*_sex|fellatio|cunnilingus|masturbation|(fe)?male_masturbation|cum|cum_.*|ejaculation|"
    r"genitals?|testicles|clitoris|pubic_hair|hetero_sex|gangbang|paizuri|handjob|footjob|erection|sex_toy|spread_pussy|"
    r"(un)?censored|naked_.*"
)
# A trigger such as `hc_loli_mina` says it as well as a tag does.
_WORD = re.compile(r"[a-z]+")
_MINOR_WORDS = frozenset(("loli", "lolicon", "shota", "shotacon", "toddler", "child", "preteen", "underage"))


def check(manifest: Manifest, tags: TagTable, words: Iterable[str] = ()) -> None:
    """Refuse a set that is sexual and codes a minor.

    Sexual: a rating head that says questionable or explicit, or a tag of nudity. Tags are taken from the raw scores and
    from the captions, so that no edit hides them.

    Args:
        manifest: the pictures, with or without captions.
        tags: their raw scores.
        words: the trigger and whatever else names the character.

    Raises:
        ContentRuleError: nothing may be trained on this set.
    """
    sexual: tuple[str, str] | None = None
    minor = next((("the trigger", word) for word in words if _MINOR_WORDS & set(_WORD.findall(word.lower()))), None)
    for entry in manifest.entries:
        scores = tags.of(entry)
        present = {*_present(scores), *(entry.caption or ())}
        for sign in sorted(present):
            if minor is None and _MINOR.fullmatch(sign):
                minor = (entry.source, sign)
            if sexual is None and _NUDITY.fullmatch(sign):
                sexual = (entry.source, sign)
        if sexual is None and (rating := _sexual_rating(scores)):
            sexual = (entry.source, f"rating {rating}")
    if minor and sexual:
        raise ContentRuleError(
            f"content rule: {minor[0]} codes a minor ({minor[1]}) and {sexual[0]} is sexual ({sexual[1]}). "
            "Such a set is never trained on; this rule cannot be turned off"
        )


def _present(scores: Scores) -> Iterator[str]:
    for found in (scores.general, scores.character):
        yield from (tag for tag, score in found.items() if score >= _PRESENT)


def _sexual_rating(scores: Scores) -> str:
    """The rating head's verdict if it is a sexual one, else nothing."""
    if not scores.rating:
        return ""
    verdict = max(scores.rating, key=lambda name: (scores.rating[name], name))
    return verdict if verdict in ("questionable", "explicit") else ""
