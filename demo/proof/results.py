"""Everything the proof says, as one record: `results.json` is this, and every table, plot and page is made from it."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from demo.proof.agreement import Agreement
from demo.proof.coverage import Coverage
from demo.proof.gates import Gate
from demo.proof.intervals import ALPHA
from lora_core.dataset import Frozen
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import LookReport

ClaimStatus = Literal["beats", "keeps", "undecided", "refuted", "untested"]
"""Of the recommended arm against a plain LoRA (`demo.proof.claims`)."""
Aside = Literal["", "unknown-look", "redraw", "style"]
"""What a proof beside the main one asks: on a base that does not know the look, or what the parts of a stage do."""
Interval = tuple[float, float, float]
"""Mean, low, high."""


class Best(Frozen):
    """The method that README recommends, against naive, picture by picture."""

    arm: str
    delta_identity: Interval
    leak: Interval
    adherence: float
    pairs: int
    seeds: int = Field(description="Training seeds that every one of these pairs has.")


class EpochFigures(Frozen):
    """One epoch of an arm over all its runs."""

    epoch: str
    figures: Mapping[str, Score] = Field(description="By name: identity, identity: hair colour, leak, …")


class RunFigures(Frozen):
    """One run of an arm at its last epoch."""

    pair: str
    seed: int
    figures: Mapping[str, float] = Field(default={}, description="Means over its samples, by name.")
    redrawn: bool | None = Field(
        default=None, description="Whether the redrawn LoRA was the better one; None: nothing was redrawn."
    )


class ArmFigures(Frozen):
    """An arm over all its runs."""

    name: str
    title: str
    core: bool
    changes: str = Field(description="The arm of which it changes one thing.")
    runs: tuple[RunFigures, ...]
    last: EpochFigures = Field(
        description="Of every run its own last epoch, for where redrawing was no better a run ends with fewer. Fixed "
        "beforehand, so that no arm is flattered by a choice."
    )
    epochs: tuple[EpochFigures, ...]
    merges: bool = Field(description="Whether it trains on a merged model, so that the gate concerns it.")
    gates_passed: int = Field(description="Runs whose merged model draws the look, whatever the prompt.")

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_written(cls, data: Any) -> Any:
        """Earlier results, in which all runs of an arm have equally many epochs, do not name the last one."""
        return {"last": data["epochs"][-1], **data} if isinstance(data, dict) and data.get("epochs") else data

    @property
    def misses_gates(self) -> bool:
        """Whether some merged model does not draw the look, so that stage 3 learned it with the character."""
        return self.merges and self.gates_passed < len(self.runs)

    @property
    def pairs(self) -> tuple[str, ...]:
        """Pairs that it ran on."""
        return tuple(dict.fromkeys(run.pair for run in self.runs))


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
    pairs: int
    differences: Mapping[str, Score] = Field(description="Arm minus the other, by figure.")
    theirs: Mapping[str, Score] = Field(description="The other's own figures over these runs.")
    p: Mapping[str, float] = Field(
        default={}, description="That there is no difference, by main figure; corrected for all arms compared (Holm)."
    )

    def differs(self, figure: str) -> bool:
        """Whether there is a difference, among all arms that are compared."""
        return self.p.get(figure, 1.0) < ALPHA


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
    aside: Aside = Field(default="", description="What it asks beside the main question; empty: it asks that.")


class Asked(Frozen):
    """What a base was found to know of the look by name, as method `auto` asks it."""

    base: str
    report: LookReport


def as_lines(rows: Sequence[Frozen]) -> bytes:
    """Records as JSON, one a line, so that a difference shows which changed."""
    listed = ",\n".join(one.model_dump_json() for one in rows)
    return f"[{listed}]\n".encode()


class Results(Frozen):
    """The whole proof."""

    best: Best | None = Field(description="None: it or naive has not run yet.")
    claim: ClaimStatus = Field(description="Of the recommended arm against plain LoRAs: what holds against each.")
    setting: Setting
    levels: Mapping[str, Score] = Field(description="What the base model shows without any LoRA.")
    arms: tuple[ArmFigures, ...]
    gates: tuple[GateRow, ...]
    contrasts: tuple[Contrast, ...]
    without_pilot: tuple[Contrast, ...] = Field(
        default=(),
        description="The recommended arm against plain LoRAs, without the pair that its epochs were chosen on.",
    )
    coverage: tuple[Coverage, ...] = Field(description="How well intervals cover in this world; empty: too few runs.")
    asked: tuple[Asked, ...] = Field(default=(), description="Of bases that know the look, and that do not.")
    agreement: Agreement | None = Field(description="Of the instruments with a person; None: nobody has labelled.")
    failed: tuple[Failed, ...]
    former: tuple[str, ...] = Field(default=(), description="Arms of a former proof, which this one did not run.")

    def arm(self, name: str) -> ArmFigures | None:
        """An arm by its name."""
        return next((arm for arm in self.arms if arm.name == name), None)

    def contrast(self, arm: str, against: str) -> Contrast | None:
        """One comparison."""
        return next((one for one in self.contrasts if (one.arm, one.against) == (arm, against)), None)
