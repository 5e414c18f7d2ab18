"""What people and broken tools put into the headers of LoRA files, and what no terminal may obey."""

import json
import random
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.cli import main
from lora_core.errors import UserError
from lora_core.hub.formats import read_header
from lora_core.lora.file import read_lora
from lora_core.lora.inspect import inspect_file

MODULE = "lora_unet_down_blocks_0_attentions_0_proj_in"
DEEP = 100_000
NULL = Path(__file__).parents[1] / "golden" / "metadata_null.safetensors"


def write(path: Path, metadata: str, module: str = MODULE) -> Path:
    """A LoRA of one module whose metadata is this JSON text."""
    table, data = [f'"__metadata__": {metadata}'], b""
    for key, shape in (("lora_down.weight", (2, 4)), ("lora_up.weight", (4, 2)), ("alpha", ())):
        raw = np.ones(shape, "<f4").tobytes()
        place = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        table.append(f'"{module}.{key}": {json.dumps(place)}')
        data += raw
    header = f"{{{', '.join(table)}}}".encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def text(**metadata: str) -> str:
    return json.dumps(metadata)


READ: Mapping[str, str] = {
    "null": "null",
    "infinite": text(ss_tag_frequency='{"a": {"b": Infinity}}'),
    "more than a float holds": text(ss_tag_frequency='{"a": {"b": 1e999, "c": NaN}}'),
    "a number of 5000 digits": text(ss_tag_frequency='{"a": {"b": ' + "9" * 5000 + "}}"),
    "lists nested deep": text(ss_tag_frequency="[" * DEEP, ss_datasets="[" * DEEP + "]" * DEEP),
    "objects nested deep": text(ss_tag_frequency='{"a":' * 9999 + "1" + "}" * 9999),
    "notes nested deep": text(**dict.fromkeys(("headcanon.made", "headcanon.merged"), "[" * DEEP)),
    "notes of other shapes": text(**{"headcanon.made": '{"how": 5, "sources": 5}', "headcanon.merged": '{"a": 1}'}),
    "notes with infinity": text(**{"headcanon.made": '{"how": "x", "sources": [{"weight": 1e999, "sha256": 5}]}'}),
    "halves of characters": '{"ss_output_name": "x\\ud800y", "\\udfffkey": "v"}',
    "halves of characters in tags": text(ss_tag_frequency='{"a\\ud800": {"b\\udfff": 2}}'),
    "colours and titles": text(ss_output_name="\x1b[31mx\x1b]0;y\x07", ss_tag_frequency='{"d": {"\\u001b[31mx": 3}}'),
    "commands in keys": '{"a\\u001b[2Jkey\\n\\r": "v\\u009b31m", "b": "\\u202egnp.exe"}',
    "commands in notes": text(**{"headcanon.made": '{"how": "\\u001b]0;x\\u0007", "sources": []}'}),
    "a base version to be obeyed": text(ss_base_model_version="\x1b[5m"),
}  # fmt: skip
REFUSED: Mapping[str, str] = {
    "a list": "[]",
    "a number": "3",
    "a text": '"x"',
    "values that are no text": '{"a": 1, "b": null}',
    "nested deep": '{"a": ' + "[" * DEEP + "]" * DEEP + "}",
}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Any:
    """The command in this process: exit status and all that it printed, as bytes."""

    def run(*words: object) -> tuple[int, bytes]:
        monkeypatch.setattr(sys, "argv", ["headcanon", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsysbinary.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    return run


def commands(lora: Path, out: Path) -> Iterator[tuple[object, ...]]:
    yield "inspect", lora
    yield "inspect", lora, "--json"
    yield "lora", "resize", lora, out / "resized.safetensors", "--rank", 1
    yield "lora", "add", lora, lora, out / "added.safetensors"
    yield "lora", "convert", lora, out / "converted.safetensors", "--to", "diffusers"


@pytest.mark.parametrize("kind", READ)
def test_odd_metadata_stops_no_tool_and_reaches_no_terminal(tmp_path: Path, say: Any, kind: str) -> None:
    lora = write(tmp_path / "odd.safetensors", READ[kind])
    for words in commands(lora, tmp_path / "out"):
        status, said = say(*words)
        assert status == 0, (words, said)
        assert not set(said.decode()) & {"\x1b", "\x9b", "\x07", "\r", "\u202e"}, words
    for made in sorted((tmp_path / "out").iterdir()):
        assert len(read_lora(made).modules) == 1


@pytest.mark.parametrize("kind", REFUSED)
def test_a_header_that_is_wrong_is_one_line(tmp_path: Path, say: Any, kind: str) -> None:
    lora = write(tmp_path / "odd.safetensors", REFUSED[kind])
    for words in commands(lora, tmp_path / "out"):
        status, said = say(*words)
        assert (status, said.count(b"\n"), b"Traceback" in said) == (2, 1, False), (words, said)
    assert not (tmp_path / "out").exists()


def test_a_module_whose_name_is_a_command_is_shown_without_it(tmp_path: Path, say: Any) -> None:
    lora = write(tmp_path / "odd.safetensors", "{}", module="lora_unet_\\u001b[31m\\ud800")
    for words in commands(lora, tmp_path / "out"):
        _, said = say(*words)
        assert not set(said.decode()) & {"\x1b", "\x9b"}, words


def _any_json(dice: random.Random, depth: int = 0) -> Any:
    kinds = ("text", "number", "infinite", "list", "object", "none") if depth < 3 else ("text", "number", "infinite")
    kind = dice.choice(kinds)
    if kind == "list":
        return [_any_json(dice, depth + 1) for _ in range(dice.randrange(3))]
    if kind == "object":
        return {_any_text(dice): _any_json(dice, depth + 1) for _ in range(dice.randrange(3))}
    return {
        "text": _any_text(dice),
        "number": dice.randint(-9, 10**30),
        "infinite": dice.choice((1e999, -1e999, 0.5)),
    }.get(kind)


def _any_text(dice: random.Random) -> str:
    return "".join(
        dice.choice('aé猫\x1b\x9b\x00\n\u202e\ud800\udfff\U0001f600{}[]",:\\') for _ in range(dice.randrange(6))
    )


def test_thousands_of_headers_at_random_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    dice = random.Random(23)
    keys = (
        "ss_tag_frequency",
        "headcanon.made",
        "headcanon.merged",
        "ss_output_name",
        "ss_datasets",
        "lora_adapter_metadata",
    )
    read = 0
    for _ in range(4000):
        metadata = {dice.choice((*keys, _any_text(dice))): json.dumps(_any_json(dice)) for _ in range(3)}
        if dice.random() < 0.2:
            metadata[_any_text(dice)] = _any_json(dice)
        lora = write(tmp_path / "any.safetensors", json.dumps(metadata))
        try:
            found = inspect_file(lora)
            said = str(found) + found.model_dump_json()
            read += 1
        except UserError as error:
            said = str(error)
        assert said
    assert read > 500


def test_metadata_of_null_is_read_as_the_reference_reader_does() -> None:
    assert read_header(NULL, "x").metadata == {}
    assert inspect_file(NULL).metadata == {}
