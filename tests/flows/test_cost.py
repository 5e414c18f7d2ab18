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
from lora_core.sampling.generate import drawing_work, loading_work
from lora_core.store import Store
from lora_core.training.plan import training_work, unloaded
from tasks.runtime import RunContext

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
