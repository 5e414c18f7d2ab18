"""Every row of the table in docs/screenshots.md, and folders in which many of them lie together."""

import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from odd_inputs import GOOD, ODD_INPUTS, Odd, encoded, figure
from typer.main import get_command

from flows.cli.app import app
from lora_core.dataset import Manifest
from lora_core.errors import DatasetError, OutputExistsError
from lora_core.images.collect import collect, refuse_bad_pictures
from lora_core.images.export import write_pictures
from lora_core.images.pipeline import preprocess
from lora_core.recipe import Preprocess, ShotPlan
from lora_core.report.contact_sheet import sheet_files
from lora_core.store import Store

OPTIONS = Preprocess(size=256)
TABLE = Path(__file__).parents[2] / "docs/screenshots.md"


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user may enter."""
    place = Path(tempfile.mkdtemp(prefix="headcanon-odd-"))
    place.chmod(0o777)
    yield place
    for path in place.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(place)


@contextlib.contextmanager
def _nobody() -> Iterator[None]:
    """Root may read everything: to be refused a file, one has to stop being root."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.fixture
def folder(place: Path) -> Path:
    """Screenshots, one of them good."""
    folder = place / "screenshots"
    folder.mkdir()
    (folder / GOOD).write_bytes(encoded(figure()))
    return folder


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything about every file that writing to it would change."""
    facts = {str(path): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {name: (fact.st_mtime_ns, fact.st_size, stat.S_IMODE(fact.st_mode)) for name, fact in facts.items()}


def _processed(folder: Path) -> Manifest:
    store = Store(folder.parent / "store")
    return preprocess(store, collect(store, folder), OPTIONS)


@pytest.mark.parametrize("odd", ODD_INPUTS, ids=lambda odd: odd.row)
def test_each_odd_input_gets_what_the_table_says_and_the_folder_stays_as_it_was(folder: Path, odd: Odd) -> None:
    odd.make(folder)
    before = _state(folder)
    with _nobody() if "may not be read" in odd.row else contextlib.nullcontext():
        if odd.fate == "stops":
            with pytest.raises(DatasetError, match=re.escape(odd.says)) as caught:
                _processed(folder)
            assert "\n" not in str(caught.value)
        else:
            _check(_processed(folder), odd)
    assert _state(folder) == before


def _check(manifest: Manifest, odd: Odd) -> None:
    used = {entry.source: entry for entry in manifest.entries}
    left_out = {one.source: one for one in manifest.rejected}
    assert GOOD in used or odd.fate == "ignored"
    if odd.fate in ("used", "flagged"):
        entry = used[odd.name]
        said = entry.flag_texts if odd.fate == "flagged" else entry.notes
        assert any(odd.says in text for text in said), entry
        assert bool(entry.flags) == (odd.fate == "flagged")
        return
    assert odd.says in left_out[odd.name].reason
    assert "\n" not in odd.name + left_out[odd.name].reason
    assert left_out[odd.name].harmless == (odd.fate == "ignored")
    if odd.fate == "left out":
        with pytest.raises(DatasetError, match=re.escape(odd.name)):
            refuse_bad_pictures(manifest)


def test_the_table_in_the_docs_has_exactly_these_rows() -> None:
    rows = re.findall(r"^\| (.+?) \| (used|flagged|left out|ignored|stops) \|", TABLE.read_text(), re.MULTILINE)
    assert rows == [(odd.row, odd.fate) for odd in ODD_INPUTS]
    assert len(rows) >= 30
    assert len({odd.row for odd in ODD_INPUTS}) == len(ODD_INPUTS)


@pytest.fixture
def crowd(folder: Path) -> Path:
    """300 files: every odd one, and good ones."""
    for odd in ODD_INPUTS:
        if odd.fate != "stops" and "may not be read" not in odd.row:
            odd.make(folder)
    for number in range(300 - len(_files(folder))):
        figure(1000 + number, (280, 200)).save(folder / f"portrait_{number:03d}.png")
    return folder


def _files(folder: Path) -> list[str]:
    """Files and links to folders."""
    return [
        name
        for root, folders, files in os.walk(folder)
        for name in (*files, *(name for name in folders if (Path(root) / name).is_symlink()))
    ]


def test_of_300_mixed_files_the_report_accounts_for_each_one(crowd: Path) -> None:
    before = _state(crowd)
    assert len(_files(crowd)) == 300
    store, target = Store(crowd.parent / "store"), crowd.parent / "pictures"
    manifest = _processed(crowd)
    write_pictures(store, manifest, target, ShotPlan(), sheet_files(store, manifest, ShotPlan(), "crowd"))
    told = json.loads((target / "report.json").read_text())
    accounted = [one["source"] for one in (*told["accepted"], *told["rejected"])]
    accounted.remove("gone.png")  # named in composition.csv, and not there
    assert len(accounted) == len(set(accounted)) == 300
    assert all(one["reason"] for one in told["rejected"])
    assert {path.stem for path in target.glob("*.png")} == {one["name"] for one in told["accepted"]}
    assert {path.name for path in (target / "sheets").iterdir()} == {"accepted.png", "left_out.png"}
    assert len(told["accepted"]) > 200
    reasons = {one["source"]: one for one in told["rejected"]}
    notes = {one["source"]: " ".join((*one["notes"], *one["flags"])) for one in told["accepted"]}
    crowded = ("byte for byte", "has the same name as")
    for odd in ODD_INPUTS:
        why = reasons[odd.name]["reason"] if odd.name in reasons else ""
        if odd.fate in ("left out", "ignored") and why and not any(words in why for words in crowded):
            assert odd.says in why
        elif odd.fate in ("used", "flagged") and odd.name in notes:
            assert odd.says in notes[odd.name] or "nearly the same as" in notes[odd.name]
    assert _state(crowd) == before


@pytest.mark.parametrize("odd", [odd for odd in ODD_INPUTS if odd.fate == "stops"], ids=lambda odd: odd.row)
def test_after_a_refusal_nothing_is_half_written(folder: Path, odd: Odd) -> None:
    odd.make(folder)
    before = _state(folder)
    command = ["preprocess", str(folder), str(folder.parent / "out"), "--store", str(folder.parent / "store")]
    with pytest.raises(DatasetError):
        get_command(app)(command, standalone_mode=False)
    assert _state(folder) == before
    assert not (folder.parent / "out").exists()
    assert [path.name for path in (folder.parent / "store").rglob("*.tmp")] == []


def test_a_name_in_the_output_that_is_taken_by_something_else_stops_before_a_picture_is_written(folder: Path) -> None:
    target = folder.parent / "out"
    target.mkdir()
    (target / "report.json").write_text("somebody's")
    figure(7).save(folder / "another.png")
    command = ["preprocess", str(folder), str(target), "--store", str(folder.parent / "store"), "--size", "64"]
    with pytest.raises(OutputExistsError, match="is not overwritten"):
        get_command(app)(command, standalone_mode=False)
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("report.json", "somebody's")]
