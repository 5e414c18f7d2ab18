"""Everything the proof says, as one record: `results.json` is this, and every table, plot and page is made from it."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from demo.proof.gates import Gate
from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import Score

ClaimStatus = Literal["holds", "refuted", "undecided", "untested"]
"""`undecided`: the intervals allow both. `untested`: every gate was missed, so nothing was the note's method."""


class EpochFigures(Frozen):
    """One epoch of an arm over all its runs."""

    epoch: str
    figures: Mapping[str, Score] = Field(description="By name: identity, identity: hair colour, leak, …")


class ArmFigures(Frozen):
    """An arm over all its runs."""

    name: str
    title: str
    core: bool
    changes: str = Field(description="The arm of which it changes one thing.")
    runs: tuple[str, ...] = Field(description="pair and training seed of each")
    epochs: tuple[EpochFigures, ...]
    merges: bool = Field(description="Whether it trains on a merged model, so that the gates concern it.")
    gates_passed: int = Field(description="Runs whose style stage passed both gates.")
    passed: Mapping[str, Score] | None = Field(
        description="The last epoch over those runs alone; None: all or none of them passed."
    )

    @property
    def last(self) -> EpochFigures:
        """The last epoch: fixed beforehand, so that no arm is flattered by a choice."""
        return self.epochs[-1]

    @property
    def misses_gates(self) -> bool:
        """Whether stages 1 and 2 did not do what the note demands in some run: not the note's method then."""
        return self.merges and self.gates_passed < len(self.runs)


class GateRow(Frozen):
    """The gates of one merged model."""

    arms: tuple[str, ...] = Field(description="Arms that were trained on it.")
    pair: str
    seed: int
    passed: bool
    style: Gate
    merged: Gate


class Contrast(Frozen):
    """An arm's last epoch against another's, picture by picture, over the runs that both have."""

    arm: str
    against: str
    runs: int
    differences: Mapping[str, Score] = Field(description="Arm minus the other, by figure.")
    theirs: Mapping[str, Score] = Field(description="The other's own figures over these runs.")
    leak_ratio: Score | None = Field(description="Arm's leak over the other's; None: the other hardly leaks.")
    probe_ratio: Score | None = Field(description="The same by the look probe.")


class Failed(Frozen):
    """An arm run that ended with an error."""

    run: str
    error: str


class Setting(Frozen):
    """What was run, to run it again."""

    command: str
    quick: bool
    versions: Mapping[str, str]
    models: Mapping[str, str] = Field(description="SHA-256 of base, tagger and look probe.")
    pairs: tuple[str, ...]
    training_seeds: tuple[int, ...]
    sampling_seeds: tuple[int, ...]
    prompts: tuple[str, ...]
    sampling: str = Field(description="Sampler, steps, CFG and size in words.")
    gate_prompts: int
    bootstrap_seed: int
    resamples: int


class Results(Frozen):
    """The whole proof."""

    setting: Setting
    levels: Mapping[str, Score] = Field(description="What the base model shows without any LoRA.")
    arms: tuple[ArmFigures, ...]
    gates: tuple[GateRow, ...]
    contrasts: tuple[Contrast, ...]
    method: Contrast | None = Field(
        description="note against naive over the runs whose gates passed: elsewhere it is not the note's method."
    )
    claim: ClaimStatus = Field(
        description="'The note's method leaks at most half as much as naive, and its identity is not lower.'"
    )
    failed: tuple[Failed, ...]

    def arm(self, name: str) -> ArmFigures | None:
        """An arm by its name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def contrast(self, arm: str, against: str) -> Contrast | None:
        """One comparison."""
        return next((one for one in self.contrasts if (one.arm, one.against) == (arm, against)), None)
