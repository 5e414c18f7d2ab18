"""What redrawing takes: pictures, steps and passes through the U-Net, by hand."""

import pytest

from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe
from lora_core.redraw.cost import cost_of, final_set
from lora_core.training.plan import SetPlan, plan
from lora_core.training.samples import TrainingSet


def _recipe(training: dict[str, object] | None = None, **redraw: object) -> Recipe:
    return parse_recipe(
        {
            "character_training": training or {},
            "name": "a",
            "trigger": "a",
            "base": "b",
            "style": "s",
            "character": "c",
            "sampling": {"prompts": ["a", "b", "c"]},
            "redraw": {"use": True, **redraw},
        },
        "test",
    )


def _set(pictures: int, px: int, repeats: int, samples: int, *, regularization: bool = False) -> SetPlan:
    return SetPlan(pictures, regularization, px, repeats, samples, (repeats, repeats), pictures, pictures)


# 38 pictures × 10, 38 copies at 384 px × 2, and as many regularization pictures as both.
_STAGE_3 = (_set(38, 512, 10, 380), _set(38, 384, 2, 76), _set(38, 512, 1, 456, regularization=True))


def test_at_the_methods_numbers_redraw_takes_less_than_stage_3_on_sd15_shapes() -> None:
    """200 pictures × 25 steps × 2; 38 × 10 × 10 steps of 3 passes; (380 + 76 × .5625 + 456) × 10 × 3 of stage 3."""
    cost = cost_of(_recipe(), _STAGE_3)
    assert (cost.drawn, cost.kept, cost.drawing_passes) == (200, 38, 10_000)
    assert (cost.steps, cost.training_passes) == (3800, 11_400)
    assert cost.stage_3_passes == pytest.approx(26_362.5, abs=1)
    assert cost.passes <= cost.stage_3_passes
    # 10 epochs × 3 weights × 3 prompts × 2 seeds, at 512×768.
    assert (cost.samples, cost.sample_passes) == (180, 13_500)


def test_rounds_epochs_pictures_and_screenshots_count() -> None:
    cost = cost_of(_recipe(rounds=2, epochs=4, pictures=20, screenshots=0.2, candidates=100), _STAGE_3)
    assert (cost.drawn, cost.kept) == (200, 20)
    assert cost.steps == 2 * 25 * 10 * 4
    assert cost.samples == 2 * 4 * 18


def test_pictures_that_begin_with_screenshots_cost_what_the_others_do_and_are_told() -> None:
    plain, begun = (cost_of(_recipe(from_screenshots=share), _STAGE_3) for share in (0.0, 0.25))
    assert (plain.begun, begun.begun, plain.passes) == (0, 50, begun.passes)
    assert "Redraw: 200 pictures drawn (50 from screenshots), 38 kept" in begun.line
    assert "from screenshots" not in plain.line


def test_every_epochs_last_batch_counts_as_a_step_though_it_is_not_full() -> None:
    """38 × 5 = 190 samples, 48 batches of four at most: as the plan of the same training says."""
    recipe = _recipe({"batch": 4, "repeats": 5})
    training = recipe.final_training
    final = TrainingSet(final_set(recipe), 5, regularization=False, class_tokens="1girl", resolution_px=512)
    assert cost_of(recipe, _STAGE_3).steps == plan([final], training).total_steps == 10 * 48


def test_the_final_training_is_planned_with_the_screenshots_that_are_mixed_in() -> None:
    """20 / (1 - .2) = 25."""
    assert len(final_set(_recipe(pictures=20, screenshots=0.2)).entries) == 25
