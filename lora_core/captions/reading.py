"""Caption texts as tag editors, web UIs and keyboards write them, taken apart into tags and what is none.

A text encoder reads a prompt's syntax as letters, so no caption keeps it. Known are the weights of A1111 and ComfyUI
(`(a, b:1.2)`, `((a))`, `[a]`), of NovelAI (`{a}`, `1.2::a, b::`), alternatives and prompt editing (`[a|b]`,
`[a:b:0.5]`), networks (`<lora:x:1>`), wildcards, `BREAK`, `AND`, and a web UI's infotext.
"""

import re
from dataclasses import dataclass

from lora_core.captions.tags import canonical, half_width, is_face

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_WEIGHT = re.compile(rf"\s*:\s*(?P<number>{_NUMBER})\s*$")
_INFOTEXT = re.compile(r"^[ \t]*(?:Negative prompt:|Steps: \d+,)", re.MULTILINE)
_NETWORK = re.compile(r"<[A-Za-z][\w ]*:[^<>\n]*>")
_EDITED = re.compile(rf"\[([^\[\]:,]*):([^\[\]:,]*):{_NUMBER}\]")
_NOVELAI = re.compile(r"(?:(?<![\w.:])|(?<=[^:]::))[-+]?(?:\d{1,2}(?:\.\d*)?|\.\d+)::|::|\d+(?:-\d+)?\$\$")
_ALTERNATIVES = re.compile(r"(?<=[^\W_])(?P<open>[)\]}]*)\s*\|\s*(?=[({\[]*[^\W_])")
_JOINTS = re.compile(r"(?<![^\s,()\[\]{}|])(?:BREAK|AND)(?![^\s,()\[\]{}|])")
_NO_TAG = re.compile(r"__[\w/*.-]+__|embedding:\S+|:" + _NUMBER)
_SEPARATORS = re.compile(r"[,\n\r\v\f\x85\u2028\u2029]+")
_SEMICOLONS = re.compile(r"(?<=\w);(?=\s|$)")
_MOST_BRACKETS = 64
_INNER = re.compile(r"(?<!\\)(?P<open>[(\[{])(?P<inner>(?:\\.|[^()\[\]{}\\])*)(?P<close>[)\]}])")


@dataclass(frozen=True)
class Part:
    """What stands between two commas of a caption, and the tag in it, without weights."""

    text: str
    tag: str


@dataclass(frozen=True)
class Reading:
    """A caption's text: its tags in their order, and what of it is no tag."""

    parts: tuple[Part, ...]
    left_out: tuple[str, ...]


def read_caption(text: str) -> Reading:
    """Take a caption's text apart. Every word of it is in a tag or in what is left out."""
    left_out: list[str] = []

    def leave_out(found: re.Match[str]) -> str:
        left_out.append(found[0].strip())
        return ","

    said = half_width(text)
    if info := _INFOTEXT.search(said):
        left_out.append(said[info.start() :].strip())
        said = said[: info.start()]
    said = _EDITED.sub(_both, _NETWORK.sub(leave_out, said))
    if said != said.upper():  # a caption in capitals may say AND
        said = _JOINTS.sub(leave_out, said)
    said = _ALTERNATIVES.sub(r"\g<open>,", _NOVELAI.sub(",", said))
    parts: list[Part] = []
    for piece in _pieces(said):
        tag = unweighted(piece)
        if is_face(tag.lower()) or (tag and not _NO_TAG.fullmatch(tag)):
            parts.append(Part(piece, tag))
        elif any(letter.isalnum() for letter in piece):
            left_out.append(piece)
    return Reading(tuple(parts), tuple(left_out))


def caption_tags(text: str, trigger: str) -> tuple[str, ...]:
    """The canonical tags of a caption's text, each once, in its order, without weights; `caption_text` reversed."""
    tags = (part.tag if trigger in (part.tag, part.text) else canonical(part.tag) for part in read_caption(text).parts)
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def unweighted(text: str) -> str:
    """A tag without a prompt's weights: `((smile))`, `(smile:1.2)`, `[smile]`, and `(smile` of a group, are `smile`.

    Caption editors read and write such weights; a text encoder reads them as letters. Escaped brackets are no weights,
    and neither are the brackets of `star (symbol)` or of a face.
    """
    tag = text.strip()
    if sum(map(tag.count, "()[]{}")) > _MOST_BRACKETS:
        return _without_weight(re.sub(r"(?<!\\)[()\[\]{}]", "", tag).strip())
    while (peeled := _peeled(tag)) != tag:
        tag = peeled
    return tag


def _pieces(text: str) -> list[str]:
    """The text between its separators: commas and line ends; blanks or semicolons in a text that has neither."""
    if not _SEPARATORS.search(text.strip()):
        words = text.split()
        if len(words) > 2 and any(re.search(r"[^\W_]_[^\W_]", word) for word in words):  # as boards list tags
            return words
        text = _SEMICOLONS.sub(",", text)
    return [piece for part in _SEPARATORS.split(text) if (piece := part.strip())]


def _both(found: re.Match[str]) -> str:
    """What stands before and after in `[before:after:when]`; a face in brackets is none."""
    before, after = found[1], found[2]
    return f"{before},{after}" if re.search(r"[^\W\d_]", before + after) and not is_face(after) else found[0]


def _peeled(tag: str) -> str:
    """A tag with one layer less around it, or one weight or stray bracket less in it."""
    if (face := _face_in(tag)) is not None:
        return face
    for found in _INNER.finditer(tag):
        before, after = tag[: found.start()], tag[found.end() :]
        if found["close"] == _CLOSING[found["open"]] and (not before + after or _is_emphasis(before, found, after)):
            while before.endswith("(") and after.startswith(")"):  # ((a)) b
                before, after = before[:-1], after[1:]
            return " ".join(f"{before} {_without_weight(found['inner'])} {after}".split())
    return _without_stray_bracket(_whole_unwrapped(tag)).strip()


def _is_emphasis(before: str, found: re.Match[str], after: str) -> bool:
    """Whether an inner pair of brackets is a prompt's: none that tags have, with a weight, or doubled."""
    inner = found["inner"]
    has_word = any(letter.isalnum() for letter in inner)
    doubled = before.endswith("(") and after.startswith(")")
    return has_word and (found["open"] in "[{" or _without_weight(inner) != inner or doubled)


def _without_weight(text: str) -> str:
    """What is in brackets without its weight. `:3` and `>:3` are faces; `:1.2` alone is a weight of nothing."""
    found = _WEIGHT.search(text)
    if found is None or is_face(text.strip().lower()):
        return text.strip()
    head = text[: found.start()].strip()
    weighs = any(letter.isalnum() for letter in head) or is_face(head.lower()) or "." in found["number"]
    return head if weighs else text.strip()


def _face_in(tag: str) -> str | None:
    """The face that a tag is, brackets around it aside: `(:3)`, `(:)` of a group, `:))` at a group's end."""
    first, last = len(tag) - len(tag.lstrip("([{")), len(tag) - len(tag.rstrip(")]}"))
    cuts = sorted(((i, j) for i in range(first + 1) for j in range(last + 1)), key=sum)
    for body in (tag[i : len(tag) - j].strip() for i, j in cuts if i + j < len(tag)):
        for face in (body, _without_weight(body)):
            if is_face(face.lower()):
                return face
    return None


def _whole_unwrapped(tag: str) -> str:
    """Without a pair of brackets around all of it, with its weight."""
    ends = _pairs(tag)
    return _without_weight(tag[1:-1]) if tag and ends.get(0) == len(tag) - 1 else tag


def _without_stray_bracket(tag: str) -> str:
    """Without the first bracket that has no partner, and a weight before it; without a weight that has no bracket."""
    ends = _pairs(tag)
    paired = {*ends, *ends.values()}
    for index, letter in enumerate(tag):
        if letter in "()[]{}" and index not in paired and tag[index - 1 : index] != "\\":
            head = _without_weight(tag[:index]) if letter in _OPENING else tag[:index]
            return " ".join((*head.split(), *tag[index + 1 :].split()))
    found = _WEIGHT.search(tag)
    return _without_weight(tag) if found and "." in found["number"] else tag


def _pairs(tag: str) -> dict[int, int]:
    """Where each bracket that is closed opens and closes; escaped ones are letters."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    for index, letter in enumerate(tag):
        if tag[index - 1 : index] == "\\" and letter in "()[]{}":
            continue
        if letter in _CLOSING:
            opened.append(index)
        elif letter in _OPENING:
            start = next((i for i in reversed(opened) if tag[i] == _OPENING[letter]), None)
            if start is not None:
                del opened[opened.index(start) :]
                pairs[start] = index
    return pairs
