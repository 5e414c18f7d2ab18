"""Files and words beyond all reason: one line and exit status 2 before they are read, never a traceback."""

import json
import os
import re
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from flows.cli import main
from flows.cli.run import _at
from flows.place import AllowedFolders
from flows.request import recipe_of
from lora_core.captions.exchange import read_texts
from lora_core.captions.rule_file import read_rules
from lora_core.errors import CaptionError, RecipeError, UserError
from lora_core.images.collect import collect
from lora_core.images.composition import read_list
from lora_core.images.decode import LARGEST_BYTES
from lora_core.recipe_file import read_recipe
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.select import read_tags
from tasks.steps import Step, Until

RECIPE = 'name = "a"\nbase = "base"\nstyle = "style"\ncharacter = "character"\n'
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command in a folder of its own: exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["headcanon", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return command


def refused(run: Run, *words: object) -> str:
    """The one line that it says; short, unless it repeats what was said at the command line."""
    status, _, err = run(*words)
    lines = err.splitlines()
    assert (status, len(lines)) == (2, 1), err
    assert len(err) < 1000 + 3 * max(len(str(word)) for word in words)
    return err


def sparse(path: Path, size: int) -> Path:
    """A file of that size that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def fifo(path: Path) -> None:
    os.mkfifo(path)


ODD_TOML: dict[str, Callable[[Path], object]] = {
    "nested 100,000 deep": lambda path: path.write_text("a = " + "[" * 100_000),
    "nested 150 deep": lambda path: path.write_text("trigger = " + "[" * 150 + "]" * 150),
    "tables 50,000 deep": lambda path: path.write_text("[" + ".".join("a" * 50_000) + "]"),
    "a number of 5,000 digits": lambda path: path.write_text("seed = " + "1" * 5000),
    "a hexadecimal number of 5,000 digits": lambda path: path.write_text("trigger = 0x" + "f" * 5000),
    "larger than memory": lambda path: sparse(path, 1 << 40),
    "a FIFO": fifo,
    "not UTF-8": lambda path: path.write_bytes(b"name = '\xff'"),
    "a key that commands a terminal": lambda path: path.write_text('"\\u001b[2J" = 1'),
}


@pytest.mark.parametrize("kind", ODD_TOML)
def test_a_recipe_that_is_none_is_one_line(run: Run, tmp_path: Path, kind: str) -> None:
    ODD_TOML[kind](tmp_path / "recipe.toml")
    said = refused(run, "run", "recipe.toml")
    assert said.startswith("headcanon: recipe.toml: ")
    assert "\x1b" not in said


@pytest.mark.parametrize("kind", ODD_TOML)
def test_so_is_a_rule_file_and_a_recipe_beside_screenshots(tmp_path: Path, kind: str) -> None:
    ODD_TOML[kind](tmp_path / "captions.toml")
    with pytest.raises(CaptionError) as rules:
        read_rules(tmp_path / "captions.toml")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "default.toml").write_text(RECIPE)
    own = tmp_path / "characters" / "momo" / "recipe.toml"
    own.parent.mkdir(parents=True)
    ODD_TOML[kind](own)
    if kind != "a FIFO":  # which is no recipe at all
        with pytest.raises(RecipeError) as recipe:
            recipe_of(AllowedFolders(home=str(tmp_path)), "momo")
        assert len(str(recipe.value)) < 1000
    assert len(str(rules.value)) < 1000


LONG = "x" * 5000
NAMES = [
    f'name = "{LONG}"', f'name = "{"日" * 80}"', f'trigger = "{LONG}"', f'base = "{LONG}"', f'base = "{"x/" * 3000}"',
    f'base = "a{"x" * 255}"', 'base = "a\\u0000b"', f'style = "{"日" * 90}"',
    f'[style]\nimages = "s"\nidentifier = "{LONG}"',
    f'[sampling]\nprompts = ["{LONG}"]', f"[sampling]\nseeds = [{'9' * 40}]", f"[judging]\nepoch = {'9' * 4000}",
    f"[character_training]\nrank = {'9' * 4000}", f'[publish]\nversion = "{LONG}"', f'[runtime]\nout = "{LONG}"',
    'trigger = "a\\u001bb"', f'[character_training.network]\nblock_lr = ["{LONG}"]',
]  # fmt: skip


@pytest.mark.parametrize("text", NAMES, ids=lambda text: text[:40])
def test_a_name_or_number_that_nothing_takes_is_one_line(run: Run, tmp_path: Path, text: str) -> None:
    key = text.split(" =")[0]
    others = "".join(line for line in RECIPE.splitlines(keepends=True) if not line.startswith(f"{key} ="))
    if text.startswith("[style]"):
        others = others.replace('style = "style"\n', "")
    (tmp_path / "recipe.toml").write_text(text + "\n" + others if not text.startswith("[") else others + text)
    said = refused(run, "run", "recipe.toml")
    assert "no such folder" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "words",
    [("run", LONG), ("run", f"{LONG}/recipe.toml"), ("inspect", LONG), ("new", LONG), ("preprocess", LONG, "out"),
     ("merge", LONG, LONG, "out"), ("lora", "resize", LONG, "out", "--rank", "2"), ("caption", LONG, "--check")],
    ids=lambda words: " ".join(words)[:20],
)  # fmt: skip
def test_so_is_a_name_on_the_command_line(run: Run, words: tuple[object, ...]) -> None:
    assert "Traceback" not in refused(run, *words)


def test_a_render_of_700_mb_is_left_out_before_it_is_copied_or_read(tmp_path: Path) -> None:
    shots, store = tmp_path / "shots", Store(tmp_path / "store")
    shots.mkdir()
    Image.new("RGB", (64, 64), "teal").save(shots / "good.png")
    sparse(shots / "render.png", 700_000_000)
    (rejected,) = collect(store, shots).rejected
    assert "700 MB, more than the 320 MB that the largest picture takes" in rejected.reason
    assert LARGEST_BYTES == 320_000_000
    assert sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file()) < 10_000


@pytest.mark.parametrize("size", [(100_000, 100_000), (65_000, 60_000)])
def test_a_header_of_too_many_pixels_is_refused_before_the_file_is_copied(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    shots, store = tmp_path / "shots", Store(tmp_path / "store")
    shots.mkdir()
    Image.new("RGB", (64, 64), "teal").save(shots / "good.png")
    header = bytearray((shots / "good.png").read_bytes())
    header[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    (shots / "huge.png").write_bytes(bytes(header) + b"\0" * 3_000_000)
    (rejected,) = collect(store, shots).rejected
    assert "pixels" in rejected.reason
    assert sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file()) < 10_000


@pytest.mark.parametrize(
    ("name", "read"),
    [("composition.csv", lambda path: read_list(path.parent)), ("selected_tags.csv", read_labels),
     ("a.txt", lambda path: read_texts(path.parent)), ("tags.json", read_tags)],
)  # fmt: skip
def test_tables_and_texts_larger_than_any_are_refused_unread(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    with pytest.raises(UserError, match=r"MiB, and such a file has [\d,]+ MiB at most"):
        read(sparse(tmp_path / name, 1 << 40))


def safetensors(path: Path, metadata: dict[str, str]) -> Path:
    """One tensor and what is said of it."""
    table = {"__metadata__": metadata, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(table).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


@pytest.mark.parametrize("length", [10 << 30, (1 << 64) - 1, 100 << 20])
def test_a_header_that_says_10_gb_is_refused_unread(run: Run, tmp_path: Path, length: int) -> None:
    path = sparse(tmp_path / "a.safetensors", 1 << 36)
    with path.open("r+b") as file:
        file.write(length.to_bytes(8, "little") + b"{")
    assert "a.safetensors" in refused(run, "inspect", path)


@pytest.mark.parametrize("header", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", '{"a": []}', "[]", "1", '{"a": 1}'])
def test_a_header_of_another_shape_is_one_line(run: Run, tmp_path: Path, header: str) -> None:
    data = header.encode()
    (tmp_path / "a.safetensors").write_bytes(len(data).to_bytes(8, "little") + data + bytes(8))
    assert "a.safetensors" in refused(run, "inspect", "a.safetensors")


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_what_a_file_says_of_itself_commands_no_terminal(run: Run, tmp_path: Path, how: tuple[str, ...]) -> None:
    notes = {"ss_sd_model_name": ESCAPE, ESCAPE: "x", "ss_tag_frequency": json.dumps({ESCAPE: {ESCAPE: 1}})}
    path = safetensors(tmp_path / f"a{ESCAPE}.safetensors", notes)
    status, out, err = run("inspect", path, *how)
    assert status == 0, err
    assert not {"\x1b", "\x07", "\u202e"} & {*out, *err}
    assert "x1b" in out or "u001b" in out
    if how:
        assert json.loads(out)["metadata"]["ss_sd_model_name"] == ESCAPE


def test_nor_does_the_name_of_a_file_in_an_error(run: Run) -> None:
    assert "\x1b" not in refused(run, "inspect", f"{ESCAPE}.safetensors")


def test_force_and_until_take_the_steps_names_and_say_them(run: Run, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    for word in ("preprocess character", "train", "train momo", "find base"):
        status, _, err = run("run", "recipe.toml", "--until", word)
        assert status == 2
        assert {word for name in get_args(Until) for word in name.split()} <= set(re.findall(r"\w+", err))
    recipe = read_recipe(tmp_path / "recipe.toml")
    with pytest.raises(RecipeError) as said:
        _at(recipe, ("preprocess character",))
    assert all(f"'{name}'" in str(said.value) for name in get_args(Step))
    assert _at(recipe, get_args(Step)).force == get_args(Step)
