"""What the dry run tells of time and room, from paces that are written down here."""

from pathlib import Path

import pytest
from small_project import new_project

import flows.cli  # noqa: F401 (sets Prefect up)
from flows.cost import Cost, costs
from flows.plan import DryRun, dry_run
from lora_core.pace import PROBE_STEPS, Work, expected_seconds, remember, timed
from lora_core.progress import Countdown, silent
from lora_core.recipe import Recipe
from lora_core.recipe_file import read_recipe
from lora_core.sampling.work import drawing_work, loading_work
from lora_core.store import Store
from lora_core.training.plan import training_work, unloaded
from tasks import time_left
from tasks.runtime import RunContext, progress, say
from tasks.time_left import RunClock

WORK = Work(("train", "sd1"), amount=40.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_work_of_a_kind_that_was_never_done_here_has_no_time(store: Store) -> None:
    assert expected_seconds(store, WORK) is None


def test_work_takes_as_long_for_each_megapixel_as_the_last_of_its_kind_did(store: Store) -> None:
    remember(store, WORK._replace(amount=10.0), 5.0)
    assert expected_seconds(store, WORK) == pytest.approx(20.0)
    assert expected_seconds(store, WORK._replace(kind=("train", "sdxl"))) is None


def test_a_listener_learns_the_pace_from_ten_pieces_after_the_first_and_again_at_the_end(store: Store) -> None:
    seconds = iter([100.0, *(200.0 + piece for piece in range(1, PROBE_STEPS + 1)), 1000.0])
    listen = timed(silent, store, WORK, clock=lambda: next(seconds))
    for done in range(1, PROBE_STEPS + 2):
        listen(done, 40)
    # Ten of forty pieces, ten of forty megapixels, took 110 s.
    assert expected_seconds(store, WORK) == pytest.approx(440.0)
    listen(40, 40)
    assert expected_seconds(store, WORK) == pytest.approx(900.0 / 39 * 40)


def test_a_resumed_training_measures_only_what_it_does_itself(store: Store) -> None:
    seconds = iter([0.0, *(float(piece) for piece in range(1, PROBE_STEPS + 1))])
    listen = timed(silent, store, WORK, clock=lambda: next(seconds))
    for done in range(30, 30 + PROBE_STEPS + 1):
        listen(done, 40)
    assert expected_seconds(store, WORK) == pytest.approx(40.0)


def test_a_countdown_goes_by_the_pieces_since_the_first_report_of_a_resumed_training() -> None:
    seconds = iter([0.0, 100.0, 110.0])
    countdown = Countdown(lambda: next(seconds))
    countdown.tell(30, 40)
    countdown.tell(35, 40)
    # Five pieces took 10 s; five are left.
    assert countdown.seconds_left == pytest.approx(10.0)


def test_a_run_takes_what_is_at_work_at_its_own_pace_and_the_rest_as_it_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to_do: dict[str, float | None] = {"train style": 100.0, "train character": 300.0, "sample": None}
    now, clock = [0.0], RunClock(lambda: lambda done: {node: to_do[node] for node in to_do if node not in done})
    first, second = (Countdown(lambda: now[0]) for _ in range(2))
    assert clock.text == ""
    monkeypatch.setattr(time_left, "_node", lambda: "train style")
    with clock.timing(first):
        clock.look()
        first.tell(0, 10)
        assert clock.seconds_left is None, "nothing is known of its own pace yet"
        now[0] = 10.0
        first.tell(5, 10)  # five pieces took 10 s; five are left, and the character's 300 s
        assert clock.seconds_left == pytest.approx(310.0)
        assert clock.text == "at least 5 min 10 s to the run's end", "how long samples take was never measured"
    to_do["sample"] = 40.0
    monkeypatch.setattr(time_left, "_node", lambda: "train character")
    with clock.timing(second):
        clock.look()
        second.tell(0, 20)
        now[0] = 20.0
        second.tell(10, 20)  # half of it took 10 s: whatever was expected of it
        assert clock.text == "about 50 s to the run's end"
    assert clock.seconds_left is None


def test_the_question_how_long_the_rest_takes_says_nothing_and_asks_nothing_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ask(_: object) -> dict[str, float | None]:
        with progress("train style", "step") as listen:
            listen(1, 1)
        say("prepared")
        asked.append("once")
        return {}

    monkeypatch.setattr(time_left, "_node", lambda: "train style")
    with time_left.whole_run(lambda: ask), progress("train style", "step") as listen:
        listen(1, 1)
    assert not asked, "a step that is over at once costs no question"
    capsys.readouterr()
    monkeypatch.setattr(time_left, "_SHORT_SECONDS", 0.0)
    with time_left.whole_run(lambda: ask), progress("train style", "step") as listen:
        listen(1, 1)
    assert asked == ["once"]
    assert capsys.readouterr().err.count("train style") == 1


def test_what_is_done_again_in_every_round_counts_again_after_it_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, countdown = RunClock(lambda: lambda _: {"train character": 60.0, "sample": 2.0}), Countdown()
    monkeypatch.setattr(Countdown, "seconds_left", 1.0)
    monkeypatch.setattr(Countdown, "has_pace", True)
    for node, left in (("train character", 3.0), ("sample", 61.0)):
        monkeypatch.setattr(time_left, "_node", lambda at=node: at)
        with clock.timing(countdown):
            clock.look()
            assert clock.seconds_left == pytest.approx(left)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Recipe:
    """Of a project on a machine that has trained, drawn and loaded before."""
    project = new_project(tmp_path_factory.mktemp("cost") / "project", drawn, Path())
    recipe = read_recipe(project.recipe)
    dry, store = _dry(recipe), RunContext.of(recipe).open_store()
    files = store.tree(dry.peeked.artifacts.inputs.base.sha256)
    components, device = unloaded(files, "cpu", recipe.base.process)
    for work in (
        training_work(components, recipe.character_training, device, 1, dry.character),
        drawing_work(components, recipe.sampling, device, 1),
    ):
        remember(store, work, 60.0)
    remember(store, loading_work(components, device), 5.0)
    return recipe


def _dry(recipe: Recipe) -> DryRun:
    return dry_run(recipe, RunContext.of(recipe))


def _costs(recipe: Recipe) -> dict[str, Cost]:
    return {cost.step: cost for cost in costs(_dry(recipe), RunContext.of(recipe))}


def test_pictures_while_training_cost_loading_the_base_once_an_epoch_and_are_drawn_no_second_time(
    recipe: Recipe,
) -> None:
    shown = recipe.model_copy(update={"sampling": recipe.sampling.model_copy(update={"while_training": 2})})
    plain, more = _costs(recipe), _costs(shown)
    assert plain["train character"].seconds == pytest.approx(60.0)
    assert more["train character"].seconds == pytest.approx(60.0 + recipe.character_training.epochs * 5.0)
    others = plain.keys() - {"train character"}
    assert {step: more[step].seconds for step in others} == {step: plain[step].seconds for step in others}


def test_the_method_difference_is_told_with_its_style_lora_and_without_a_merge(recipe: Recipe) -> None:
    update = {"merge": recipe.merge.model_copy(update={"use": False}),
              "difference": recipe.difference.model_copy(update={"use": True})}  # fmt: skip
    found = _costs(recipe.model_copy(update=update))
    assert found.keys() == {"train style", "check style", "train character", "sample"}
    assert all(cost.seconds for cost in found.values())
