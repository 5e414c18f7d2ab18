"""What redrawing takes beside stage 3, before anything starts."""

from dataclasses import dataclass
from math import ceil

from lora_core.dataset import Entry, Manifest
from lora_core.recipe import Recipe, Sampling, Training
from lora_core.redraw.scenes import quotas, screenshots_beside, whole_share
from lora_core.sampling.work import pixels_drawn
from lora_core.training.plan import SetPlan

PASSES_A_SAMPLE = 3
"""Of a trained picture: forward, and backward as two of these (Kaplan et al. 2020, section 2.1)."""


@dataclass(frozen=True)
class RedrawCost:
    """What all rounds take. A pass is one picture of the training's resolution, once through the U-Net.

    Attributes:
        drawn: pictures that are drawn to choose from.
        begun: of them, those that begin with a screenshot.
        kept: of them, in each round.
        drawing_passes: for these.
        steps: of the optimizer.
        training_passes: for these.
        samples: pictures that the verdicts on the redrawn LoRAs are made of.
        sample_passes: for these.
        stage_3_passes: of the character's own training, to compare; its samples are not counted.
    """

    drawn: int
    begun: int
    kept: int
    drawing_passes: int
    steps: int
    training_passes: int
    samples: int
    sample_passes: int
    stage_3_passes: int

    @property
    def passes(self) -> int:
        """Of drawing and training."""
        return self.drawing_passes + self.training_passes

    @property
    def line(self) -> str:
        """In a sentence."""
        begun = f" ({self.begun} from screenshots)" if self.begun else ""
        share = f", {self.passes / self.stage_3_passes:.2f} of stage 3's training" if self.stage_3_passes else ""
        return (
            f"Redraw: {self.drawn} pictures drawn{begun}, {self.kept} kept, {self.steps} steps; "
            f"about {self.passes:,} passes through the U-Net{share}; "
            f"and {self.samples} samples for the verdict, about {self.sample_passes:,} passes"
        )


def final_set(recipe: Recipe) -> Manifest:
    """As many pictures as the final LoRA is trained on, to plan its training by; they stand for what is not drawn."""
    px = recipe.character_training.resolution
    return Manifest(
        entries=tuple(
            Entry(name=f"{number}", source="", image="0" * 64, width=px, height=px)
            for number in range(_trained(recipe))
        )
    )


def cost_of(recipe: Recipe, stage_3: tuple[SetPlan, ...]) -> RedrawCost:
    """Count what the recipe's rounds of redrawing take.

    Args:
        recipe: with [redraw] in use.
        stage_3: sets of the character's training.
    """
    options, training = recipe.redraw, recipe.character_training
    kept, epochs = sum(quotas(recipe.plan, options.pictures).values()), recipe.final_training.epochs
    trained = _trained(recipe) * training.repeats
    sampling = recipe.sampling
    samples = options.rounds * epochs * len(sampling.weights) * len(sampling.prompts) * len(sampling.seeds)
    drawn = options.rounds * options.candidates
    return RedrawCost(
        drawn=drawn,
        begun=options.rounds * whole_share(options.candidates, options.from_screenshots),
        kept=kept,
        drawing_passes=drawn * _passes_of_a_picture(sampling.square(training.resolution), training),
        steps=options.rounds * epochs * ceil(trained / training.step_batch),
        training_passes=options.rounds * epochs * trained * PASSES_A_SAMPLE,
        samples=samples,
        sample_passes=samples * _passes_of_a_picture(sampling, training),
        stage_3_passes=_stage_3(stage_3, training),
    )


def _trained(recipe: Recipe) -> int:
    """Pictures of the final set, screenshots included."""
    kept = sum(quotas(recipe.plan, recipe.redraw.pictures).values())
    return kept + screenshots_beside(kept, recipe.redraw.screenshots)


def _passes_of_a_picture(sampling: Sampling, training: Training) -> int:
    """Through the U-Net at the training's resolution, by area."""
    return ceil(pixels_drawn(sampling) / training.resolution**2)


def _stage_3(sets: tuple[SetPlan, ...], training: Training) -> int:
    areas = sum(each.samples * (each.resolution_px / training.resolution) ** 2 for each in sets)
    return round(areas * training.epochs * PASSES_A_SAMPLE)
