"""An output that is not what it seems is refused in one line, before any work, and nothing is written."""

import os
from pathlib import Path

import pytest
from odd_inputs import encoded, figure

from flows.cli.app import app
from lora_core.errors import OutputExistsError, StoreError, UserError
from lora_core.store import Store
from lora_core.store.outputs import check_out_file, check_out_folder

FOLDERS = (
    ("preprocess", "{shots}", "{out}"),
    ("sample", "{base}", "--prompt", "x", "--out", "{out}"),
    ("caption", "{shots}", "--tags", "t.json", "--rules", "r.toml", "--out", "{out}"),
    ("merge", "{base}", "l.safetensors", "{out}"),
    ("new", "{out}"),
    ("preprocess", "{shots}", "pictures", "--store", "{out}"),
    ("store", "verify", "--store", "{out}"),
    ("run", "{recipe}", "--out", "{out}"),
)
FILES = (
    ("tag", "{shots}", "--model", "m", "--out", "{out}"),
    ("compare", "a.toml", "b.toml", "--out", "{out}"),
    ("merge", "b.safetensors", "l.safetensors", "{out}"),
    ("lora", "add", "a", "b", "{out}"),
    ("lora", "subtract", "a", "b", "{out}"),
    ("lora", "resize", "a", "{out}", "--rank", "4"),
    ("lora", "extract", "a", "b", "{out}"),
    ("lora", "convert", "a", "{out}", "--to", "diffusers"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in: screenshots, a file, a full folder, a recipe."""
    from demo.project import MODELS

    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/a.png").write_bytes(encoded(figure()))
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x").write_text("somebody's")
    (tmp_path / "b.safetensors").write_bytes(b"")
    (tmp_path / "recipe.toml").write_text(
        f"name = 'x'\nbase = '{MODELS / 'base'}'\ncharacter = 'shots'\nmethod = 'naive'\n"
        f"[tagger]\nmodel = '{MODELS / 'tagger'}'\n"
    )
    return tmp_path


def _refusal(place: Path, words: tuple[str, ...], out: str) -> UserError:
    """What the command raises, which `main` prints as one line with exit status 2; nothing may have been written."""
    from typer.main import get_command

    from demo.project import MODELS

    filled = [word.format(out=out, shots="shots", base=MODELS / "base", recipe="recipe.toml") for word in words]
    before = _tree(place)
    with pytest.raises(UserError) as caught:
        get_command(app)(filled, standalone_mode=False)
    assert "\n" not in str(caught.value)
    assert _tree(place) == before
    return caught.value


def _tree(place: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


@pytest.mark.parametrize("words", FOLDERS, ids=lambda words: f"{words[0]} {words[-2]}")
@pytest.mark.parametrize("out", ["file", "file/below", "file/far/below"])
def test_a_file_where_a_folder_is_to_be_written_is_refused_before_any_work(place, words, out):
    assert "file" in str(_refusal(place, words, out))


@pytest.mark.parametrize("words", FOLDERS[:6], ids=lambda words: f"{words[0]} {words[-2]}")
def test_a_folder_whose_name_is_too_long_is_refused_before_any_work(place, words):
    message = str(_refusal(place, words, "x" * 300))
    assert "255" in message or "160" in message


@pytest.mark.parametrize("words", FILES, ids=lambda words: " ".join(words[:2]))
def test_a_folder_where_a_file_is_to_be_written_is_refused_before_any_work(place, words):
    assert "folder" in str(_refusal(place, words, "folder"))


@pytest.mark.parametrize("words", FILES, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("out", ["file/out.safetensors", "x" * 300 + ".safetensors"])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(place, words, out):
    message = str(_refusal(place, words, out))
    assert "a file, and a folder" in message or "300" in message or "312 bytes" in message


@pytest.mark.parametrize("words", FILES[2:], ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("out", ["out.ckpt", "out.pt", "out.PTH", "out.bin"])
def test_safetensors_are_never_written_under_another_ending(place, words, out):
    assert "and a .safetensors file is to be written" in str(_refusal(place, words, out))


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append(path))  # root may write everywhere
    for check, out in ((check_out_folder, "locked/new/deep"), (check_out_file, "locked/new.txt")):
        with pytest.raises(StoreError, match=r"locked: cannot be written .*choose another folder"):
            check(tmp_path / out)
    assert asked == [tmp_path / "locked"] * 2


def test_a_link_to_nothing_is_no_folder_and_one_to_a_folder_is(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "good").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    check_out_folder(tmp_path / "good/new")
    with pytest.raises(OutputExistsError, match="a link to nothing"):
        check_out_folder(tmp_path / "dangling/new")


def test_a_store_that_is_a_file_is_named_for_what_it_is(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(StoreError, match="a file, and a store is a folder"):
        Store(tmp_path / "x")
