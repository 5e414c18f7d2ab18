"""Odd things in characters/: each is told of once, none keeps the other folders from their runs, nothing hangs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watched import QUIET, Watched

from flows.inbox import MEMORY, refusals
from flows.place import AllowedFolders
from flows.status import Progress, characters
from flows.train_cast import cast
from lora_core.errors import StoreError

YEAR = 365 * 24 * 3600.0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    yield Watched(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "characters"], check=True)  # pytest's own way cannot remove the deepest


def _not_utf8(folder: Path) -> None:
    (folder / os.fsdecode(b"a\xff")).mkdir()
    (folder / os.fsdecode(b"a\xff") / "a.png").write_bytes(b"x")


def _long_name(folder: Path) -> None:
    (folder / ("a" * 81)).mkdir()


def _name_no_file_can_have(folder: Path) -> None:
    (folder / "a:b").mkdir()


def _pipe(folder: Path) -> None:
    (folder / "a").mkdir()
    os.mkfifo(folder / "a/x.png")
    os.mkfifo(folder / "a/recipe.toml")


def _socket(folder: Path) -> None:
    (folder / "a").mkdir()
    here = Path.cwd()
    os.chdir(folder / "a")  # a socket's path must be short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x.png")
    finally:
        os.chdir(here)


def _loop(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a/again").symlink_to("..", target_is_directory=True)
    (folder / "a/x.png").symlink_to("x.png")
    (folder / "b").symlink_to("b")


def _deep(folder: Path) -> None:
    """Deeper than Python's recursion, and than a path may be long."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def _odd_file_name(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / os.fsdecode(b"x\xff.png")).write_bytes(b"x")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_not_utf8, "its name is not UTF-8"),
        (_long_name, "81 letters, at most 80"),
        (_name_no_file_can_have, "must not hold"),
        (_pipe, ""),
        (_socket, ""),
        (_loop, ""),
        (_deep, "File name too long"),
        (_odd_file_name, ""),
    ],
)
def test_an_odd_folder_is_told_of_once_and_the_others_get_their_runs(
    watched: Watched, make: Callable[[Path], None], told: str
) -> None:
    make(watched.folder)
    watched.picture("momo/a.png")
    watched.picture("zora/a.png")
    watched.look()
    assert {"momo", "zora"} <= {change.character for change in watched.look(QUIET)}
    assert watched.look(QUIET) == []
    assert len(watched.refused) == bool(told)
    assert all(told in why for _, why in watched.refused)
    for name, _ in watched.refused:
        name.encode()  # may be shown anywhere


# Two looks of a user who is not almighty; root is one who gave that up.
_TWO_LOOKS = """
import sys
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from watched import QUIET, Watched
inbox = Watched(Path(sys.argv[1]))
inbox.now = float(sys.argv[2])
inbox.look()
print([change.character for change in inbox.look(QUIET)], inbox.look(QUIET), inbox.refused)
"""
_MORTAL = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def test_a_folder_that_may_not_be_read_is_told_of_once_and_starts_when_it_may(watched: Watched) -> None:
    root = os.getuid() == 0
    if root and shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not there")
    watched.picture("momo/a.png")
    locked = watched.picture("locked/in/a.png").parent
    locked.chmod(0)
    command = [sys.executable, "-c", _TWO_LOOKS, str(watched.folder.parent), str(watched.now), *sys.path]
    said = subprocess.run([*(_MORTAL if root else ()), *command], capture_output=True, text=True, check=False)
    locked.chmod(0o700)
    assert said.stdout.strip() == "['momo'] [] [('locked', 'in cannot be read: Permission denied')]", said.stderr
    assert refusals(watched.store.root / MEMORY) == {"locked": "in cannot be read: Permission denied"}
    watched.now += 2 * QUIET
    watched.look()
    assert [change.character for change in watched.look(QUIET)] == ["locked"]
    assert refusals(watched.store.root / MEMORY) == {}


def test_a_folder_that_goes_away_during_a_look_is_no_fault(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.picture("momo/a.png")
    watched.picture("zora/a.png")
    watched.look()
    digest = watched.store.digest_of_file

    def going(path: Path) -> str:
        shutil.rmtree(watched.folder / "momo", ignore_errors=True)
        return digest(path)

    monkeypatch.setattr(watched.store, "digest_of_file", going)
    assert [change.character for change in watched.look(QUIET)] == ["zora"]
    assert watched.refused == []


@pytest.mark.parametrize(
    "memory",
    [
        "[]",
        "null",
        "7",
        '"momo"',
        '{"momo": ',
        '{"momo": []}',
        '{"momo": null}',
        '{"momo": {"since": "soon"}}',
        '{"momo": {"since": NaN, "look": 7}}',
        '{"momo": {"runs": -1}}',
        '{"momo": {"since": 1e999}}',
        '{"\\ud800": {"runs": 1}}',
        "[" * 100_000,
        '{"momo": ' + "9" * 5000 + "}",
        "\0",
    ],
)
def test_a_memory_of_any_kind_costs_one_look_and_no_crash(watched: Watched, memory: str) -> None:
    watched.picture("momo/a.png")
    watched.look()
    (watched.store.root / MEMORY).write_text(memory)
    assert watched.look() == []
    assert len(watched.look(QUIET)) == 1
    assert watched.look(QUIET) == []


def test_what_is_remembered_of_one_folder_is_forgotten_alone(watched: Watched) -> None:
    for name in ("momo", "zora"):
        watched.picture(f"{name}/a.png")
    watched.look()
    assert len(watched.look(QUIET)) == 2
    memory = watched.store.root / MEMORY
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "momo": []}))
    watched.look()
    assert [change.character for change in watched.look(QUIET)] == ["momo"]


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_clock_that_jumps_and_is_set_right_costs_one_look_at_most(watched: Watched, jump: float) -> None:
    for picture in ("momo/a.png", "momo/b.png"):
        watched.picture(picture)
        for leap in (jump, -jump):
            watched.look()
            watched.now += leap
        assert len(watched.look() + watched.look(QUIET)) <= 1
        assert watched.look(QUIET) == []
    kept = json.loads((watched.store.root / MEMORY).read_text())["momo"]
    assert kept["runs"] == 2


def test_a_run_that_prefect_refuses_is_told_of_once_and_tried_again(watched: Watched) -> None:
    watched.picture("momo/a.png")
    watched.look()
    for _ in range(2):
        inbox = watched.inbox()
        (change,) = inbox.changes(QUIET, watched.now + QUIET)
        inbox.refuse(change.character, "409")
    assert watched.refused == [("momo", "409")]
    assert refusals(watched.store.root / MEMORY) == {"momo": "409"}
    assert len(watched.look(QUIET)) == 1
    assert refusals(watched.store.root / MEMORY) == {}


def test_a_memory_that_is_a_folder_is_one_line(watched: Watched) -> None:
    watched.picture("momo/a.png")
    (watched.store.root / MEMORY / "x").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"inbox\.json.* changed places: remove it"):
        watched.look()


def test_status_has_a_line_for_every_folder_that_nothing_starts_for(watched: Watched) -> None:
    home = watched.folder.parent
    _not_utf8(watched.folder)
    _long_name(watched.folder)
    watched.picture("momo/a.png")
    (home / ".headcanon").mkdir()
    (home / ".headcanon" / MEMORY).write_text(json.dumps({"momo": {"refused": "409"}}))
    lines = [one for one in characters(AllowedFolders(home=str(home))) if not isinstance(one, Progress)]
    assert "a\\xff: its name is not UTF-8; rename it" in lines
    assert any("81 letters" in line for line in lines)
    assert "momo: starts no run by itself: 409" in lines


def test_a_cast_leaves_odd_folders_out_and_says_so(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    _not_utf8(watched.folder)
    _long_name(watched.folder)
    watched.picture("momo/a.png")
    assert cast(AllowedFolders(home=str(watched.folder.parent))) == ("momo",)
    assert capsys.readouterr().err.count("left out") == 2
