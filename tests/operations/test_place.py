"""What a form may name on a worker's machine: its home, folders its owner opened, and nothing that a link leads to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.place import AllowedFolders
from lora_core.errors import RecipeError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "characters" / "momo").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    return tmp_path / "home"


def test_a_relative_path_lies_in_the_home(home: Path) -> None:
    assert AllowedFolders(home=str(home)).inside("characters/momo", "folder") == home / "characters" / "momo"


@pytest.mark.parametrize(
    "text", ["../secret", "/etc", "characters/../../secret", "~root", "characters/momo/../../../secret", "/", ".."]
)
def test_a_path_that_leaves_the_home_is_refused(home: Path, text: str) -> None:
    with pytest.raises(RecipeError, match="outside of the folders"):
        AllowedFolders(home=str(home)).inside(text, "folder")


def test_a_link_that_leaves_the_home_is_refused_wherever_it_stands_in_the_path(home: Path) -> None:
    (home / "characters" / "linked").symlink_to(home.parent / "secret")
    for text in ("characters/linked", "characters/linked/deeper"):
        with pytest.raises(RecipeError, match="outside of the folders"):
            AllowedFolders(home=str(home)).inside(text, "folder")


def test_a_folder_that_was_opened_may_be_named_and_its_neighbour_of_a_similar_name_not(home: Path) -> None:
    (home.parent / "secret2").mkdir()
    place = AllowedFolders(home=str(home), also=str(home.parent / "secret"))
    assert place.inside(str(home.parent / "secret" / "a"), "folder") == home.parent / "secret" / "a"
    with pytest.raises(RecipeError, match="outside of the folders"):
        place.inside(str(home.parent / "secret2"), "folder")


@given(st.text(max_size=40))
def test_whatever_a_form_says_is_inside_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = tmp_path_factory.getbasetemp() / "any-home"
    home.mkdir(exist_ok=True)
    try:
        found = AllowedFolders(home=str(home)).inside(text, "folder")
    except (RecipeError, UnicodeEncodeError):
        return
    assert found.is_relative_to(home.resolve())


def test_a_worker_without_a_home_lets_forms_name_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADCANON_HOME", raising=False)
    with pytest.raises(RecipeError, match="no home folder"):
        AllowedFolders().inside("characters/momo", "folder")


def test_a_home_that_nobody_has_is_refused(home: Path) -> None:
    with pytest.raises(RecipeError, match="folder '~0/x': there is no such home folder"):
        AllowedFolders(home=str(home)).inside("~0/x", "folder")


def test_a_preset_that_is_not_there_comes_with_those_that_are(home: Path) -> None:
    (home / "recipes").mkdir()
    (home / "recipes" / "koikatsu.toml").write_text("")
    with pytest.raises(RecipeError, match="there are: koikatsu"):
        AllowedFolders(home=str(home)).preset("koikatu")
    with pytest.raises(RecipeError):
        AllowedFolders(home=str(home)).preset("../recipes/koikatsu")


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(home))
    assert AllowedFolders().folder == home
    assert AllowedFolders().store == str(home / ".headcanon")
    monkeypatch.setenv("HEADCANON_STORE_PATH", "/mnt/shared/store")
    assert AllowedFolders().store == "/mnt/shared/store"
