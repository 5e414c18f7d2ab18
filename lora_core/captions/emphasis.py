r"""A prompt's emphasis as A1111 reads it: `(word)`, `(word:1.2)`, `[word]`, `\(`, `BREAK`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

_MORE, _LESS = 1.1, 1 / 1.1
_MARKS = re.compile(r"\\(?P<literal>[()\[\]\\]?)|(?P<open>[(\[])|:\s*(?P<factor>[+-]?[\d.]+)\s*\)|(?P<close>[)\]])")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True)
class Span:
    """A part of a prompt, and the factor on what the text encoder says of its tokens."""

    text: str
    weight: float = 1.0


Section = tuple[Span, ...]
"""What stands between two BREAKs: a new chunk of 75 tokens begins with it."""


@dataclass
class _Piece:
    text: str | None
    """None: BREAK."""
    weight: float = 1.0


def read_prompt(prompt: str) -> tuple[Section, ...]:
    """A prompt's sections, each of spans without brackets.

    Round brackets multiply by 1.1 or by the number before the closing one, square brackets divide by 1.1; a bracket
    that is not closed reaches to the end, one that was not opened is a letter. Neighbours of one weight are one span.
    """
    pieces: list[_Piece] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def multiply(bracket: str, factor: float) -> None:
        for piece in pieces[opened[bracket].pop() :]:
            piece.weight *= factor

    end = 0
    for mark in _MARKS.finditer(prompt):
        pieces += _plain(prompt[end : mark.start()])
        end = mark.end()
        bracket = mark["open"] or {")": "(", "]": "["}.get(mark["close"] or "", "")
        if mark["literal"] is not None:
            pieces.append(_Piece(mark["literal"]))
        elif mark["open"]:
            opened[bracket].append(len(pieces))
        elif (factor := _number(mark["factor"])) is not None and opened["("]:
            multiply("(", factor)
        elif mark["close"] and opened[bracket]:
            multiply(bracket, _MORE if bracket == "(" else _LESS)
        else:
            pieces.append(_Piece(mark[0]))
    pieces += _plain(prompt[end:])
    for bracket in opened:
        while opened[bracket]:
            multiply(bracket, _MORE if bracket == "(" else _LESS)
    return tuple(tuple(_joined(section)) for section in _sections(pieces))


def literal(text: str) -> tuple[Section, ...]:
    """A caption: whatever brackets it has are letters, as in training."""
    return ((Span(text),),)


def unemphasized(prompt: str) -> str:
    """A prompt's words without emphasis; a BREAK is a comma."""
    return ", ".join("".join(span.text for span in section) for section in read_prompt(prompt))


def _plain(text: str) -> Iterator[_Piece]:
    for number, part in enumerate(_BREAK.split(text)):
        if number:
            yield _Piece(None)
        if part:
            yield _Piece(part)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _sections(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    section: list[_Piece] = []
    for piece in pieces:
        if piece.text is None:
            yield section
            section = []
        else:
            section.append(piece)
    yield section


def _joined(section: Iterable[_Piece]) -> Iterator[Span]:
    for weight, pieces in groupby(section, key=lambda piece: piece.weight):
        if text := "".join(piece.text or "" for piece in pieces):
            yield Span(text, weight)
