"""The content rule: adult or non-sexual characters only. It has no switch, no threshold of its own and no option.

Everything that goes into one LoRA is looked at together: one picture that codes a minor and another that is sexual, in
the character's set or in the style's, are refused, and so is a prompt or a trigger that says the one or the other.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lora_core.captions.tags import canonical
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.errors import ContentRuleError

# Fixed, so that the caption threshold cannot move it, and below the point where precision equals recall of every
# published WD14 tagger (.26 for the v3 ViT, .27 v3 swin, .38 v2 swin, .53 v3 EVA02): what the tagger itself would call
# present counts, whichever tagger the recipe names.
_PRESENT = 0.25

_MINOR = re.compile(
    r"(.*[_-])?(child(ren)?|toddlers?|bab(y|ies)|infants?|loli(s|con)?|shota(s|con)?|preteens?|kids?)|child_on_child|"
    r"(kindergarten|preschool|elementary_school|grade_school)(_.*)?|kindergart(e)?ner|preschooler|schoolchild(ren)?|"
    r"randoseru|aged_down|age_regression|underaged?|(young|little)_(girl|boy)s?"
)
_NUDITY = re.compile(
    r"(.*_)?(nude|nudity|naked)|(nude|naked)_.*|topless(_(fe)?male)?|bottomless|(one_)?breasts?_out|"
    r"(.*_)?(nipples?|areolae?|pussy|vulva|penis|penises|anus|clitoris|genitals?|pubic_hair|testicles)|"
    r"(nipple|areola|pussy|penis|anal|vaginal|cum|clitoral|spread_pussy|spread_anus)_.*|after_(sex|vaginal|anal|fellatio)|"
    r"vaginal|anal|(.*_)?(sex|cum|ejaculation|masturbation|orgasm)|fellatio|cunnilingus|irrumatio|deepthroat|"
    r"(paizuri|handjob|footjob|hairjob|fingering|ahegao|rape|gangbang|orgy|threesome|bukkake|tribadism|defloration)|"
    r"(reverse_|squatting_)?cowgirl_position|doggystyle|missionary|mating_press|prone_bone|spitroast|full_nelson|"
    r"erection|flaccid|foreskin|phimosis|perineum|cleft_of_venus|fat_mons|fucked_silly|sex_toy|dildo|vibrator|strap-on|"
    r"futa(nari)?|bestiality|(un)?censored|(bar|mosaic)_censor(ing)?"
)
# A trigger such as `hc_loli_mina`, or a prompt in sentences, says it as well as a tag does.
_WORD = re.compile(r"[a-z]+")
_MINOR_WORDS = frozenset(
    ("loli", "lolicon", "shota", "shotacon", "toddler", "child", "children", "kid", "baby", "preteen", "underage")
)
_SEXUAL_WORDS = frozenset(("nude", "naked", "nsfw", "sex", "porn", "hentai", "pussy", "penis"))
_AGE = re.compile(r"(?<!\d)(?:[1-9]|1[0-7])[\s_-]?(?:yo|y/o|years?[\s_-]?old)(?![a-z])")


class _Sign(NamedTuple):
    """Where something was found, and what."""

    where: str
    what: str


def check(sets: Iterable[tuple[Manifest, TagTable]], words: Iterable[str] = ()) -> None:
    """Refuse what is sexual and codes a minor.

    Sexual: a rating head that says questionable or explicit, or a tag of nudity. Tags are taken from the raw scores and
    from the captions, so that no edit hides them.

    Args:
        sets: pictures, with or without captions, and their raw scores.
        words: triggers, class words, prompts: whatever is said of the character.

    Raises:
        ContentRuleError: nothing may be trained on this.
    """
    minor: _Sign | None = None
    sexual: _Sign | None = None
    for where, signs in (*_said(words), *_shown(sets)):
        for sign in signs:
            minor = minor or (_Sign(where, sign) if _codes_minor(sign) else None)
            sexual = sexual or (_Sign(where, sign) if _is_sexual(sign) else None)
    if minor and sexual:
        raise ContentRuleError(
            f"content rule: {minor.where} codes a minor ({minor.what}) and {sexual.where} is sexual ({sexual.what}). "
            "Such a set is never trained on; this rule cannot be turned off"
        )


def is_sign(tag: str) -> bool:
    """Whether the rule knows a tag, as the one sign or the other."""
    return _codes_minor(tag) or _is_sexual(tag)


@functools.lru_cache(maxsize=65536)
def _codes_minor(sign: str) -> bool:
    return sign in _MINOR_WORDS or _MINOR.fullmatch(sign) is not None or _AGE.fullmatch(sign) is not None


@functools.lru_cache(maxsize=65536)
def _is_sexual(sign: str) -> bool:
    return sign in _SEXUAL_WORDS or _NUDITY.fullmatch(sign) is not None or sign.startswith("rating ")


def _said(words: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    for text in words:
        low = text.lower()
        tags = [canonical(part) for part in low.split(",")]
        yield f"{text!r}", [*tags, *_AGE.findall(low), *_WORD.findall(low)]


def _shown(sets: Iterable[tuple[Manifest, TagTable]]) -> Iterator[tuple[str, list[str]]]:
    for manifest, tags in sets:
        for entry in manifest.entries:
            scores = tags.of(entry)
            yield entry.source, [*sorted({*_present(scores), *(entry.caption or ())}), *_sexual_rating(scores)]


def _present(scores: Scores) -> Iterator[str]:
    for found in (scores.general, scores.character):
        yield from (canonical(tag) for tag, score in found.items() if score >= _PRESENT)


def _sexual_rating(scores: Scores) -> Iterator[str]:
    """The rating head's verdict if it is a sexual one."""
    if scores.rating:
        verdict = max(scores.rating, key=lambda name: (scores.rating[name], name))
        if verdict in ("questionable", "explicit"):
            yield f"rating {verdict}"
