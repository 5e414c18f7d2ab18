"""A PNG's chunks: what it says of its colours, and the file without what its pixels do not need."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LARGEST_PROFILE_BYTES = 32 << 20
"""Of a colour profile once it is unpacked; those with the finest tables have 4 MB."""
# Of the chunks that a decoder may leave away those that say something of the pixels.
_NEEDED = (b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT")
# ITU-T H.273: what a cICP chunk, or an AVIF's or HEIF's nclx box, numbers.
_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {8: "linear", 16: "PQ", 18: "HLG"}
_HDR = (16, 18)
_SRGB_GAMMA = 1 / 2.2
_GAMMA_TOLERANCE = 0.05


class Lean(NamedTuple):
    """A PNG as it is decoded.

    Attributes:
        data: the file without texts and the like, and without a colour profile that is too large to be one.
        colours: how its colours are meant if that is not sRGB, such as `HDR (PQ, BT.2020)`; empty: sRGB or a profile.
        notes: what was left away.
    """

    data: io.BytesIO
    colours: str
    notes: tuple[str, ...]


class _Chunk(NamedTuple):
    kind: bytes
    body: bytes
    whole: bytes


def lean(file: BinaryIO, *, header_only: bool = False) -> Lean:
    """A PNG, read from its beginning, without what only makes it large.

    What is damaged is handed on as it is: the decoder knows better what it can do with it.

    Args:
        file: at its first byte; its signature was seen.
        header_only: leave the pixels away, which no header needs.
    """
    kept, notes = [file.read(len(SIGNATURE))], []
    said: dict[bytes, bytes] = {}
    for chunk in _chunks(file, header_only=header_only):
        said.setdefault(chunk.kind, chunk.body)
        if chunk.kind == b"iCCP" and _too_large(chunk.body):
            notes.append("its colour profile is too large to be one: taken as sRGB")
        elif not chunk.kind[:1].islower() or chunk.kind in _NEEDED:
            kept.append(chunk.whole)
    return Lean(io.BytesIO(b"".join(kept)), _colours(said), tuple(notes))


def _chunks(file: BinaryIO, *, header_only: bool) -> Iterator[_Chunk]:
    """Every chunk; what is left of a damaged file is one without a kind."""
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if header_only and kind == b"IDAT":
            yield _Chunk(kind, b"", start)
            return
        rest = file.read(length + 4)
        if len(rest) < length + 4 or not kind.isalpha():
            yield _Chunk(b"", b"", start + rest + file.read())
            return
        yield _Chunk(kind, rest[:length], start + rest)
    yield _Chunk(b"", b"", start)


def _too_large(profile: bytes) -> bool:
    packed = profile.partition(b"\0")[2][1:]
    try:
        return len(zlib.decompressobj().decompress(packed, LARGEST_PROFILE_BYTES + 1)) > LARGEST_PROFILE_BYTES
    except zlib.error:
        return False


def _colours(said: dict[bytes, bytes]) -> str:
    """How colours are meant, by the chunk that goes first (W3C PNG, 3rd edition, 4.3: cICP, iCCP, sRGB, gAMA)."""
    if len(points := said.get(b"cICP", b"")) == 4:
        return colours_by_code_points(points[0], points[1])
    if b"iCCP" in said or b"sRGB" in said or len(said.get(b"gAMA", b"")) != 4:
        return ""
    gamma = struct.unpack(">I", said[b"gAMA"])[0] / 100_000
    if not gamma or abs(gamma - _SRGB_GAMMA) <= _GAMMA_TOLERANCE:
        return ""
    return "linear (gamma 1.0)" if abs(gamma - 1) <= _GAMMA_TOLERANCE else f"of gamma {gamma:.3g}"


def colours_by_code_points(primaries: int, transfer: int) -> str:
    """Colours by H.273's numbers in words, such as `HDR (PQ, BT.2020)`; empty: sRGB, or nearly."""
    words = ", ".join(word for word in (_TRANSFERS.get(transfer, ""), _PRIMARIES.get(primaries, "")) if word)
    return f"HDR ({words})" if transfer in _HDR else words


def colours_of_boxes(head: bytes) -> str:
    """The same of an AVIF or HEIF file's beginning, by the nclx box (ISO/IEC 23000-22) in it."""
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 12:
        return ""
    primaries, transfer = struct.unpack(">HH", head[at + 8 : at + 12])
    return colours_by_code_points(primaries, transfer)
