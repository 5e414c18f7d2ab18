"""Names of all kinds: shown whole, taken by file systems and web UIs, or refused in one line."""

import random
import re
from pathlib import Path
from typing import Annotated

import pytest
from odd_inputs import encoded, figure
from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli.app import app
from flows.place import character_folders, odd_folders
from lora_core.captions.check import known_trigger
from lora_core.errors import RecipeError
from lora_core.images.collect import collect
from lora_core.recipe import Recipe
from lora_core.recipe.names import NAME_BYTES, checked_name, trigger_from
from lora_core.recipe_file import parse_recipe
from lora_core.store import Store
from lora_core.store.files import NAME_BYTES as FILE_NAME_BYTES
from lora_core.store.files import leftovers, temporary_name, write_atomically
from tasks.terminal import Terminal, styled

GOOD = ("aiko", "aiko [v2]", "葵 (冬)", "Ünï#1", "👩‍🎤", "x.y", "CONan", "com", "a" * 80, "aux_1")
BAD = {
    "a,b": "must not hold ,",
    "a`b": "must not hold `",
    "a:b": "must not hold :",
    "x[/x]": "must not hold /",
    "a\x01b": r"control character '\\x01'",
    "a\u202eb": "control character",
    "a\nb": "control character",
    "\u200d": "no letter that can be seen",
    "aiko.": "must not begin or end",
    " aiko": "must not begin or end",
    ".aiko": "must not begin or end",
    "CON": "a device on Windows",
    "lpt1.v2": "a device on Windows",
    "Com¹": "a device on Windows",
    "葵" * 70: "takes 210 bytes",
}


def _recipe(**more: str) -> Recipe:
    return parse_recipe({"name": "x", "base": "b", "style": "s", "character": "c", **more}, "recipe.toml")


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_every_program_takes_is_kept_as_it_is(name):
    assert _recipe(name=name).name == name


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_some_program_takes_badly_is_refused_in_one_line(name):
    with pytest.raises(RecipeError, match=BAD[name]) as caught:
        _recipe(name=name)
    assert "\n" not in str(caught.value)


def test_a_random_name_is_refused_or_a_file_of_every_ending_can_have_it(tmp_path):
    chance = random.Random(1)
    letters = "aZ9 .,-_[](){}'\"`:/\\|<>?*#%&=+~^@!;$\x00\x07\x1b\x7f\u200b\u200d\u202e\u2028é葵😀\ud800"
    taken = 0
    for _ in range(4000):
        name = "".join(chance.choice(letters) for _ in range(chance.choice((1, 2, 4, 8, 79))))
        if fault := _fault(name):
            assert "\n" not in fault
            continue
        taken += 1
        assert len(f"{name}-{'v' * 40}-000010.safetensors".encode()) <= FILE_NAME_BYTES
        assert not re.search(r"[,`:/\\<>|\x00-\x1f]", name)
        assert re.fullmatch(r"hc[^\s,()\\:<>|\[\]]+", trigger_from(name))
        if taken % 20 == 0:
            write_atomically(tmp_path / f"{name}.safetensors", b"x")
            assert (tmp_path / f"{name}.safetensors").read_bytes() == b"x"
    assert taken > 100


def _fault(name: str) -> str:
    try:
        checked_name(name)
    except ValueError as error:
        return str(error)
    return ""


def test_names_of_emoji_get_triggers_that_differ():
    assert _recipe(name="😀").trigger == "hc1f600"
    assert _recipe(name="👩‍🎤").trigger == "hc1f4691f3a4"
    assert _recipe(name="aiko [v2]").trigger == "hcaikov2"
    assert _recipe(name="葵").trigger == "hc葵"


@pytest.mark.parametrize(("trigger", "told"), [("1girl", True), ("Long Hair", True), ("hcaiko", False)])
def test_a_trigger_that_is_a_tag_gets_a_word(trigger, told):
    assert ("a tag that models know already" in known_trigger(trigger)) == told


def test_a_characters_folder_with_an_odd_name_is_told_and_the_others_are_found(tmp_path):
    shift_jis = "顔".encode("shift_jis").decode(errors="surrogateescape")
    for name in ("aiko", "葵", "CON", "a,b", "x" * 81, shift_jis, f"{shift_jis}2"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{shift_jis}.zip").write_bytes(b"")
    assert [folder.name for folder in character_folders(tmp_path)] == ["aiko", "葵"]
    told = {odd.name: odd.reason for odd in odd_folders(tmp_path)}
    assert len(told) == 5
    assert "device on Windows" in told["CON"]
    assert "81 letters" in told["x" * 81]
    assert told["\\x8a\\xe7"] == "its name is not UTF-8; rename it"


def test_the_form_of_a_name_knows_the_same_rules():
    adapter = TypeAdapter(Annotated[str, Recipe.model_fields["name"]])
    assert len(("葵" * 70).encode()) > NAME_BYTES
    with pytest.raises(ValidationError, match="takes 210 bytes"):
        adapter.validate_python("葵" * 70)


@pytest.mark.parametrize("name", ["aiko [v2]", "x [/x] [bold]", "[red]", ":smile: \\[a]", "a]["])
def test_square_brackets_are_shown_whole_everywhere(name, capsys):
    console = Terminal(width=200)
    console.print(name)
    console.print(styled((name, "bold green"), f" beside {name}"))
    table = Table(name, title=f"of {name}")
    table.add_row(name)
    console.print(table)
    assert capsys.readouterr().out.count(name) == 6


def test_steps_and_bars_show_square_brackets(capsys):
    from tasks.runtime import _bars, progress, say

    say("look at aiko [v2] and [/x]", mark="!")
    with progress("preprocess [v2]", "image") as listen:
        listen(1, 2, "shot [/x].png")
        rendered = "".join(str(part) for part in _bars.make_tasks_table(_bars.tasks).columns[3].cells)
    assert "shot [/x].png" in rendered
    assert "look at aiko [v2] and [/x]" in " ".join(capsys.readouterr().err.split())


def _commands():
    root = get_command(app)
    for name, command in root.commands.items():
        inner = getattr(command, "commands", {})
        yield from ((name, one) for one in inner) if inner else ((name,),)


@pytest.mark.parametrize("words", list(_commands()), ids=" ".join)
def test_help_keeps_its_square_brackets(words):
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "250"}).stdout
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    texts = [command.callback.__doc__, *(getattr(param, "help", "") or "" for param in command.params)]
    meant = {found for text in texts for found in re.findall(r"\[[a-z][^\[\]]*\]", text.replace("\\[", "["))}
    assert [one for one in meant if one not in shown] == []


def test_the_defaults_of_preprocess_are_shown():
    shown = CliRunner().invoke(app, ["preprocess", "--help"], env={"COLUMNS": "200"}).stdout
    assert "Take [preprocess] and [plan] from this recipe.toml." in shown
    assert "[default: 1024]" in shown


@pytest.mark.parametrize("name", ["y" * 251, "葵" * 83, "é" * 125])
def test_a_temporary_name_of_a_long_name_fits_and_is_found_when_it_was_left(name, tmp_path, monkeypatch):
    living = temporary_name(tmp_path / name)
    monkeypatch.setattr("os.getpid", lambda: 999_999_999)  # of no process
    dead = temporary_name(tmp_path / name)
    monkeypatch.undo()
    for path in (living, dead):
        assert len(path.name.encode()) <= FILE_NAME_BYTES
        path.write_bytes(b"")
    assert list(leftovers(tmp_path)) == [dead]
    write_atomically(tmp_path / name, b"x")


def test_screenshots_with_names_of_every_length_are_used_and_written(tmp_path):
    from lora_core.images.export import write_pictures
    from lora_core.images.pipeline import preprocess
    from lora_core.recipe import Preprocess, ShotPlan

    folder, store = tmp_path / "shots", Store(tmp_path / "store")
    names = ["y" * 226, "y" * 251, "葵" * 83, f"{'z' * 200}/{'葵' * 80}", f"b/{'葵' * 80}", f"[v2] {'q' * 240}"]
    for number, name in enumerate(names):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(figure(100 + number)))
    manifest = preprocess(store, collect(store, folder), Preprocess(size=64))
    write_pictures(store, manifest, tmp_path / "out", ShotPlan(), {})
    assert len(list((tmp_path / "out").glob("*.png"))) == len(names)
    assert manifest.rejected == ()


@pytest.mark.parametrize("name", ["a,b", "CON", "aiko.", "x" * 300, "葵" * 70])
def test_a_project_whose_folder_no_lora_can_be_called_after_is_refused_and_nothing_is_written(name, tmp_path):
    from flows.cli.scaffold import write_new

    with pytest.raises(RecipeError, match="the LoRA is called as the folder"):
        write_new(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_project_with_square_brackets_is_shown_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["new", "aiko [v2]"]).stdout
    assert "headcanon run aiko [v2]/recipe.toml --dry-run" in shown
    assert 'name = "aiko [v2]"' in Path("aiko [v2]/recipe.toml").read_text()
