"""What disks, other programs and strangers make of a small file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from lora_core.store.digests import canonical_json
from lora_core.store.records import LARGEST_BYTES


def in_place_of(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "of zeros": lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
    "a list": lambda path: path.write_bytes(b"[]"),
    "null": lambda path: path.write_bytes(b"null"),
    "the bare value": lambda path: path.write_bytes(canonical_json(json.loads(path.read_bytes())["value"])),
    "not UTF-8": lambda path: path.write_bytes(path.read_bytes()[:-2] + b"\xff}"),
    "UTF-16": lambda path: path.write_text(path.read_text(), "utf-16"),
    "nested deep": lambda path: path.write_bytes(b"[" * 200_000),
    "a number of 5,000 digits": lambda path: path.write_bytes(b'{"value":' + b"1" * 5000 + b"}"),
    "not a number": lambda path: path.write_text(path.read_text().replace("0.125", "NaN")),
    "with a changed digit": lambda path: path.write_bytes(path.read_bytes().replace(b"125", b"126")),
    "with one field more": lambda path: path.write_bytes(path.read_bytes()[:-1] + b',"more":1}'),
    "huge": _huge,
    "a pipe": lambda path: in_place_of(path, os.mkfifo),
    "a folder": lambda path: in_place_of(path, Path.mkdir),
    "a link to a device": lambda path: in_place_of(path, lambda link: link.symlink_to("/dev/zero")),
    "a link to another file": lambda path: in_place_of(path, lambda link: link.symlink_to("/etc/passwd")),
}
