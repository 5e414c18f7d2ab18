"""What became of the pictures of a redrawing, with the reasons, and whether enough are left."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from lora_core.captions.tags import spaced
from lora_core.dataset import Frozen, View
from lora_core.judging.gates import GateResult
from lora_core.recipe import Composition, Redraw
from lora_core.redraw.scenes import Scene
from lora_core.refs import Digest

Code = Literal["chosen", "spare", "trait", "other", "look", "copy", "alike", "framing", "content", "by_hand"]
_TEXTS: Mapping[Code, str] = {
    "chosen": "chosen",
    "spare": "not needed: enough others of its kind",
    "trait": "{} read at {}, below {}",
    "other": "{} {}, not on the screenshots",
    "look": "3D look {}, above {}",
    "copy": "nearly the screenshot {}",
    "alike": "nearly the same as {}",
    "framing": "drawn in another composition than {}",
    "content": "the content rule: {}",
    "by_hand": "taken out by hand",
}


class Judgement(Frozen):
    """One redrawn picture: whether it is trained on, and why not."""

    name: str
    image: Digest
    width: int
    height: int
    scene: Scene
    composition: Composition | None = Field(description="As the tagger reads it; None: another one.")
    view: tuple[View, ...] = Field(default=(), description="Likewise.")
    worst_trait: str = Field(default="", description="The one that is read least; empty: none can be seen.")
    worst_score: float = 1.0
    look: float = 0.0
    code: Code
    values: tuple[str, ...] = Field(default=(), description="What the text has in its gaps.")

    @property
    def text(self) -> str:
        """The reason in words."""
        values = tuple(map(spaced, self.values)) if self.code in ("trait", "other") else self.values
        return _TEXTS[self.code].format(*values)


class Selection(Frozen):
    """All pictures of a round with what became of them, in drawing order."""

    pictures: tuple[Judgement, ...]
    wanted: int = Field(ge=0, description="Pictures that the final training is to have.")
    scores: Mapping[str, float] = Field(description="Trait → its mean score over all pictures where it can be seen.")

    @property
    def chosen(self) -> tuple[Judgement, ...]:
        """What is trained on."""
        return tuple(one for one in self.pictures if one.code == "chosen")

    @property
    def counts(self) -> dict[Code, int]:
        """How many pictures have which reason, the commonest first."""
        return dict(Counter(one.code for one in self.pictures).most_common())

    @property
    def failing(self) -> str:
        """In one line, what keeps most pictures out; empty: nothing does."""
        traits = Counter(one.values[0] for one in self.pictures if one.code == "trait")
        others = Counter(one.code for one in self.pictures if one.code not in ("chosen", "spare", "trait", "by_hand"))
        if not traits and not others:
            return ""
        trait, count = traits.most_common(1)[0] if traits else ("", 0)
        code, most = others.most_common(1)[0] if others else ("trait", 0)
        if most > count:
            return f"{most} of {len(self.pictures)} pictures are out for {_NAMED[code]}{self._first(code)}"
        mean = f", on average at {self.scores[trait]:.2f}" if trait in self.scores else ""
        return f"most fail on {trait.replace('_', ' ')}: too low in {count} of {len(self.pictures)} pictures{mean}"

    def _first(self, code: Code) -> str:
        """Of another character's traits the commonest."""
        if code != "other":
            return ""
        found = Counter(one.values[0] for one in self.pictures if one.code == code)
        return f", {spaced(found.most_common(1)[0][0])} first"


_NAMED: Mapping[Code, str] = {
    "chosen": "chosen",
    "spare": "not needed",
    "trait": "a trait that is missing",
    "other": "another character’s trait",
    "look": "the 3D look",
    "copy": "being nearly a screenshot",
    "alike": "being nearly the same as another",
    "framing": "another composition than their prompt’s",
    "content": "the content rule",
    "by_hand": "a person’s choice",
}
"""Of many pictures at once."""


def selection_gate(found: Selection, options: Redraw) -> GateResult:
    """Whether enough pictures pass; if not, one line says what keeps the others out."""
    share = len(found.chosen) / found.wanted if found.wanted else 0.0
    return GateResult(
        name="redraw",
        passed=share >= options.least_share,
        figure=share,
        bound=options.least_share,
        at_least=True,
        meaning=f"{len(found.chosen)} of {found.wanted} pictures chosen from {len(found.pictures)}, a share of",
        advice=(f"{found.failing}. " if found.failing else "")
        + "[redraw] candidates draws more, traits names fewer or others; worst_trait, max_other_trait and max_look are "
        "the bounds",
        details=tuple(f"{count} × {_NAMED[code]}" for code, count in found.counts.items())
        + ((found.failing,) if found.failing else ()),
    )
