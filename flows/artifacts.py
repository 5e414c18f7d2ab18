"""What the graph works with and what a run comes to: every ref by name, pending where it is not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from lora_core.captions.rules import Rules
from lora_core.recipe import Recipe
from lora_core.refs import CaptionsRef, CheckpointRef, DatasetRef, LoraRef, ReportRef
from lora_core.report.data import RedrawInputs
from lora_core.tagging.select import Thresholds
from tasks.groups import TaggedSet
from tasks.steps import Branch

Sets = Mapping[Branch, DatasetRef]
"""Pictures of the style and of the character; without style there is but one."""


class Inputs(NamedTuple):
    """What a recipe names, found and known by its content; no style, classifier or embedder: it names none.

    `start` is the LoRA that stage 3 begins with; none: a new one. `further` are the bases, by name, that the chosen
    epoch is drawn on too.
    """

    base: CheckpointRef
    tagger: CheckpointRef
    style: DatasetRef | None
    character: DatasetRef
    rules: Rules
    least: Thresholds
    classifier: CheckpointRef | None = None
    embedder: CheckpointRef | None = None
    start: LoraRef | None = None
    further: tuple[tuple[str, CheckpointRef], ...] = ()

    @property
    def screenshots(self) -> Sets:
        """The sets that there are."""
        character: Sets = {"character": self.character}
        return {"style": self.style, **character} if self.style else character

    @property
    def files(self) -> tuple[CheckpointRef | DatasetRef | LoraRef, ...]:
        """All that was read from the user's disk and changes what comes out."""
        return tuple(each for each in (self.base, self.tagger, self.style, self.character, self.start) if each)


class PreparedSets(NamedTuple):
    """Both sets as squares with compositions, and their tags; no style: the recipe names none."""

    style_squares: DatasetRef | None
    squares: DatasetRef
    style: TaggedSet | None
    character: TaggedSet


class CaptionedSet(NamedTuple):
    """The character's captions, its pictures with them, small copies of these, and the check of the captions."""

    captions: CaptionsRef
    pictures: DatasetRef
    copies: DatasetRef | None
    check: ReportRef


class StyledBase(NamedTuple):
    """Stages 1 and 2: what the character is trained on, the style LoRA, and the checks of both."""

    base: CheckpointRef
    lora: LoraRef | None = None
    check: ReportRef | None = None
    merge_check: ReportRef | None = None


class JudgedLora(NamedTuple):
    """A LoRA with the samples of its epochs, and the verdict on them."""

    lora: LoraRef
    samples: ReportRef
    verdict: ReportRef


class RedrawRound(NamedTuple):
    """The LoRA that drew, what it drew, the selection, the final training set, and the LoRA trained on that."""

    before: JudgedLora
    drawn: ReportRef
    selected: ReportRef
    pictures: DatasetRef
    lora: LoraRef

    @property
    def reported(self) -> RedrawInputs:
        """What the report shows of it."""
        return RedrawInputs(lora=self.before.lora, verdict=self.before.verdict, selected=self.selected)


@dataclass(frozen=True)
class RunArtifacts:
    """Every result of a run.

    Attributes:
        recipe: with the method that was taken, where it was 'auto'; the dearer one while that is not known.
        look: what the base knows of the look by name; None: the recipe names its method.
        inputs: what the recipe names.
        squares: both sets, as they were preprocessed.
        sets: both sets, tagged and with compositions.
        captioned: the captioned pictures.
        styled: the base with the style in it.
        whole: the character LoRA as it was trained.
        rounds: of redrawing; empty: the recipe wants none.
        last: the LoRA at the end of them; without any, the first.
        lora: what is published: the same, without the style where it is subtracted, or the redrawn one.
        samples: of every epoch.
        verdict: the metrics, and the choice.
        report: the files that are published.
        folder: where; empty: the run ended before that.
    """

    recipe: Recipe
    look: ReportRef | None
    inputs: Inputs
    squares: Sets
    sets: PreparedSets
    captioned: CaptionedSet
    styled: StyledBase
    whole: LoraRef
    rounds: tuple[RedrawRound, ...]
    last: JudgedLora
    lora: LoraRef
    samples: ReportRef
    verdict: ReportRef
    report: ReportRef
    folder: str

    @property
    def checks(self) -> tuple[ReportRef, ...]:
        """The checks between the stages that are there."""
        found = (self.captioned.check, self.styled.check, self.styled.merge_check)
        return tuple(check for check in found if check and not check.is_pending)
