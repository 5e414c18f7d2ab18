"""A run for a folder that changed and then rested; never one without a change."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from examples import examples
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from watched import QUIET, Watched


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_new_folder_gets_its_run_when_it_has_rested_and_only_once(watched: Watched) -> None:
    watched.picture("momo/a.png")
    assert watched.look() == []
    assert watched.look(QUIET - 1) == []
    (change,) = watched.look(1)
    assert (change.character, change.number, change.pictures) == ("momo", 1, 1)
    assert watched.look(10 * QUIET) == []


def test_a_folder_that_is_still_being_copied_into_waits(watched: Watched) -> None:
    for number in range(4):
        watched.picture(f"momo/{number}.png")
        assert watched.look(QUIET - 1) == []
    assert [change.pictures for change in watched.look(QUIET)] == [4]


def test_files_with_the_times_of_years_ago_still_wait_until_the_copy_is_through(watched: Watched) -> None:
    os.utime(watched.picture("momo/a.png"), (1, 1))
    assert watched.look() == []
    assert len(watched.look(QUIET)) == 1


def test_touching_a_file_or_moving_it_away_and_back_is_no_change(watched: Watched) -> None:
    picture = watched.picture("momo/a.png")
    watched.look()
    assert len(watched.look(QUIET)) == 1
    os.utime(picture)
    shutil.copy(picture, picture.with_suffix(".copy"))
    picture.unlink()
    picture.with_suffix(".copy").rename(picture)
    assert watched.look() == []
    assert watched.look(QUIET) == []


@pytest.mark.parametrize("name", ["momo/Thumbs.db", "momo/.hidden.png", "momo/notes.txt", "stray.png", ".trash/a.png"])
def test_what_is_no_screenshot_starts_nothing(watched: Watched, name: str) -> None:
    watched.picture("momo/a.png")
    watched.look()
    watched.look(QUIET)
    path = watched.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert watched.look() == []
    assert watched.look(QUIET) == []


def test_a_recipe_beside_the_screenshots_counts_as_a_change(watched: Watched) -> None:
    watched.picture("momo/a.png")
    watched.look()
    watched.look(QUIET)
    (watched.folder / "momo/recipe.toml").write_text('trigger = "momo"')
    assert watched.look() == []
    assert len(watched.look(QUIET)) == 1


def test_a_folder_without_pictures_is_left_alone(watched: Watched) -> None:
    (watched.folder / "momo").mkdir()
    (watched.folder / "momo/recipe.toml").write_text("")
    watched.look()
    assert watched.look(QUIET) == []


def test_a_look_that_was_cut_short_gives_the_same_key_again(watched: Watched) -> None:
    watched.picture("momo/a.png")
    watched.look()
    (before,) = watched.look(QUIET, start=False)
    (again,) = watched.look(QUIET)
    assert before.key == again.key


def test_going_back_to_what_it_was_is_a_new_change_with_a_new_key(watched: Watched) -> None:
    keys = []
    for colour in (1, 2, 1, 2):
        watched.picture("momo/a.png", colour)
        watched.look()
        (change,) = watched.look(QUIET)
        keys.append(change.key)
    assert len(set(keys)) == 4


def test_a_memory_that_cannot_be_read_costs_one_look_and_no_crash(watched: Watched) -> None:
    watched.picture("momo/a.png")
    watched.look()
    (watched.store.root / "inbox.json").write_text('{"momo": ')
    assert watched.look(QUIET) == []
    assert len(watched.look(QUIET)) == 1


def test_the_memory_holds_no_path_of_this_machine(watched: Watched) -> None:
    watched.picture("momo/a.png")
    watched.look()
    assert str(watched.folder) not in json.dumps(json.loads((watched.store.root / "inbox.json").read_text()))


class AnyHistory(RuleBasedStateMachine):
    """Pictures come, change and go in any order: runs are started for contents that differ from the last run's."""

    def __init__(self) -> None:
        super().__init__()
        self._root = Path(tempfile.mkdtemp())
        self.watched = Watched(self._root)
        self.last: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self._root)

    def content(self) -> dict[str, bytes]:
        folder = self.watched.folder / "momo"
        return {path.name: path.read_bytes() for path in folder.glob("*.png")}

    @rule(name=st.sampled_from("abc"), colour=st.integers(0, 2))
    def put(self, name: str, colour: int) -> None:
        self.watched.picture(f"momo/{name}.png", colour)

    @rule(name=st.sampled_from("abc"))
    def remove(self, name: str) -> None:
        (self.watched.folder / f"momo/{name}.png").unlink(missing_ok=True)

    @rule()
    def rest(self) -> None:
        """Two looks with rest between: afterwards every change has had its run, and nothing else has."""
        self.watched.look()
        found = self.watched.look(QUIET)
        content = self.content()
        assert len(found) == (content != self.last and bool(content))
        if found:
            self.last = content

    @rule()
    def glance(self) -> None:
        """A look in between starts nothing: no time has passed."""
        assert self.watched.look() == []


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = examples(30, stateful_step_count=12)
