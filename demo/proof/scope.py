"""What a proof covers: which arms on which pairs with which seeds, and how long that takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Final, get_args

from demo.proof.arms import CORE, Arm, Screenshots, Table, common, recipe_of
from demo.proof.pairs import PAIRS, Pair, Role, draw_screenshots, few
from demo.proof.results import Aside
from demo.world.scene import Composition
from demo.world.screenshot import PLAN
from lora_core.recipe import Recipe, Sampling, Training
from lora_core.redraw.scenes import quotas

# Measured in one of two lanes on two cores, so with one thread, at 128 px with the models of demo/models.
_STEP_SECONDS: Final = 0.5
_PICTURE_SECONDS: Final = 0.65
_OVERHEAD_SECONDS: Final = 12.0
_STYLE_CHECK_PICTURES: Final = 12
_SETS: Final[tuple[Role, ...]] = ("style", "target")
SEEDS: Final = (1, 2)
"""Of the trainings, in a whole proof; arms beside the core take the first."""


@dataclass(frozen=True)
class ArmRun:
    """One arm on one pair with one training seed."""

    arm: Arm
    pair: Pair
    seed: int
    recipe: Recipe

    @property
    def label(self) -> str:
        """How it is called in messages."""
        return f"{self.arm.name} on {self.pair.name}, seed {self.seed}"


@dataclass(frozen=True)
class Scope:
    """The size of a proof.

    Attributes:
        arms: core arms run on all pairs, others on four with different style characters.
        pairs: who is learned from whom.
        seeds: of the trainings.
        shared: the recipe that all arms lie over.
        plan: screenshots of each composition.
        gate_prompts: pictures of the merged model; of the style LoRA, which has one prompt, a sixth of it.
        quick: whether it only shows that everything works.
        aside: what it asks beside the main question; empty: it asks that.
        alike: whether every arm is on all pairs with all seeds, as core arms are: they were named, or are looked for.
    """

    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    shared: Table
    plan: Mapping[Composition, int]
    gate_prompts: int
    quick: bool = False
    aside: Aside = ""
    alike: bool = False

    @property
    def sampling(self) -> Sampling:
        """How the gates are drawn, however an arm draws its samples."""
        return Sampling.model_validate(self.shared["sampling"])

    @property
    def style_pictures(self) -> int:
        """Pictures of the style LoRA on the base."""
        return max(1, self.gate_prompts // 6)

    def arm_runs(self, shots: Callable[[Pair], Screenshots]) -> tuple[ArmRun, ...]:
        """Every arm run: core arms first, and one seed of all pairs before the next.

        Args:
            shots: where the screenshots of a pair are.

        Raises:
            RecipeError: an arm is no recipe.
        """
        core = [arm for arm in self.arms if self.alike or arm.name in CORE]
        others = [arm for arm in self.arms if arm not in core]
        return tuple(
            ArmRun(arm, pair, seed, recipe_of(arm, self.shared, pair, seed, shots(pair)))
            for arms, pairs, seeds in (
                (core, self.pairs, self.seeds),
                (others, few(self.pairs), self.seeds[:1]),
            )
            for seed in seeds
            for pair in pairs
            for arm in arms
        )


def drawn(covered: Scope, folder: Path) -> Callable[[Pair], Screenshots]:
    """Where the screenshots of a pair are; they are drawn into `folder` when they are first asked for."""

    wanted = {arm.style_set for arm in covered.arms}
    others: tuple[Role, ...] = tuple(role for role in get_args(Role) if role in wanted)

    def shots(pair: Pair) -> Screenshots:
        style, target, *more = (draw_screenshots(pair, role, folder, covered.plan) for role in (*_SETS, *others))
        return Screenshots(style, target, dict(zip(others, more, strict=True)))

    return shots


def full(arms: Sequence[Arm]) -> Scope:
    """The whole proof."""
    return Scope(tuple(arms), PAIRS, SEEDS, common(quick=False), PLAN, gate_prompts=60)


def quick(arms: Sequence[Arm]) -> Scope:
    """One pair, one seed, less of everything: ten minutes."""
    return replace(full(arms), pairs=PAIRS[:1], seeds=(1,), shared=common(quick=True), gate_prompts=48, quick=True)


def on_four_pairs(covered: Scope, aside: Aside) -> Scope:
    """A proof beside the main one: its arms on four pairs with different style characters, with one training seed."""
    return replace(covered, pairs=few(PAIRS), seeds=SEEDS[:1], aside=aside)


def expected_seconds(run: ArmRun, scope: Scope) -> dict[str, float]:
    """What a run needs, by pieces; runs that share a piece name it alike, so that it counts once."""
    recipe, count = run.recipe, sum(scope.plan.values())
    sampling = recipe.sampling
    shots = len(sampling.prompts) * len(sampling.seeds)
    copies = count * recipe.downscale.repeats if recipe.downscale.size else 0
    shown = count * recipe.character_training.repeats + copies
    steps = _steps(recipe.character_training, shown * (2 if recipe.regularization.use else 1))
    trained = run.arm.like if run.arm.on_merged else run.arm.name
    pieces = {
        f"{trained}, {run.pair.name}, {run.seed}": steps * _STEP_SECONDS
        + shots * recipe.character_training.epochs * _PICTURE_SECONDS
        + _redraw_seconds(recipe, shots)
        + _OVERHEAD_SECONDS,
        f"no LoRA, {run.pair.name}": shots * _PICTURE_SECONDS,
    }
    if recipe.trains_style:
        pictures = _STYLE_CHECK_PICTURES + len(sampling.style_prompts) + scope.style_pictures + scope.gate_prompts
        training = recipe.style_training
        pieces[f"style, {run.pair.name}, {training!r}"] = (
            _steps(training, count * training.repeats) * _STEP_SECONDS + pictures * _PICTURE_SECONDS
        )
    return pieces


def _redraw_seconds(recipe: Recipe, shots: int) -> float:
    """Drawing, the training on what was chosen, and the samples of that."""
    options, training = recipe.redraw, recipe.character_training
    if not options.use:
        return 0.0
    kept = sum(quotas(recipe.plan, options.pictures).values())
    steps = ceil(kept * training.repeats / training.step_batch)
    epochs = options.epochs or training.epochs
    drawn = options.candidates + shots * epochs
    return options.rounds * (drawn * _PICTURE_SECONDS + steps * epochs * _STEP_SECONDS)


def _steps(training: Training, samples: int) -> int:
    return ceil(samples / training.step_batch) * training.epochs
