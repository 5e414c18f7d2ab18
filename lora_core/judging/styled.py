"""Do pictures show the style character on white, in its look? Measured against the style screenshots themselves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from lora_core.captions import taxonomy
from lora_core.dataset import Manifest, Scores, TagTable
from lora_core.judging.bootstrap import bootstrap
from lora_core.judging.evidence import PLAIN_TAGS
from lora_core.judging.gates import GateResult
from lora_core.progress import Progress
from lora_core.recipe import LEAK_TAGS
from lora_core.refs import ReportRef
from lora_core.sampling.samples import Sample, load_samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.tag import tag

_LEAST_MEAN = 0.35
"""A tag that the screenshots show less than this says nothing about them."""
_SHOWN = 0.5
"""Of what the screenshots show: a picture with less does not show it."""


@dataclass(frozen=True)
class Look:
    """What the tagger sees in a set of screenshots: mean probability by tag, in three parts.

    Attributes:
        parts: "character", "white" and "look"; a part that the tagger does not see is not there.
        captioned: whether the screenshots have captions. What these say is drawn when it is asked for and not else, so
            it is in no part; what is left to see is the look.
    """

    parts: Mapping[str, Mapping[str, float]]
    captioned: bool = False

    @property
    def measurable(self) -> bool:
        """Whether the tagger sees that without which the screenshots are not recognized."""
        return ("look" if self.captioned else "character") in self.parts

    def shown_by(self, scores: Scores) -> dict[str, bool]:
        """Which parts a picture shows: at least half of what the screenshots do, as the mean over the part's tags."""
        return {
            part: fmean(scores.general.get(name, 0.0) for name in tags) >= _SHOWN * fmean(tags.values())
            for part, tags in self.parts.items()
        }


def look_of(manifest: Manifest, table: TagTable) -> Look:
    """What a set of style screenshots has in common, as far as the tagger sees it."""
    pictures = [table.of(entry).general for entry in manifest.entries]
    captioned = {name for entry in manifest.entries for name in entry.caption or ()}
    tags = {name for scores in pictures for name in scores} - captioned
    means = {name: fmean(scores.get(name, 0.0) for scores in pictures) for name in sorted(tags)}
    body = taxonomy.groups()["body"]
    kinds = {
        "character": [name for name in means if taxonomy.family_of(name) in body],
        "white": [name for name in means if name in PLAIN_TAGS],
        "look": [name for name in means if name in LEAK_TAGS],
    }
    parts = {part: {name: means[name] for name in names if means[name] >= _LEAST_MEAN} for part, names in kinds.items()}
    return Look({part: shown for part, shown in parts.items() if shown}, captioned=bool(captioned))


def look_gate(
    store: Store,
    drawn: ReportRef,
    column: str,
    look: Look,
    tagger: Mapping[str, Path],
    least: float,
    advice: str,
    progress: Progress,
) -> GateResult:
    """Whether at least so many pictures of a check's column show the style character on white in its look, or the look.

    Raises:
        TaggerError: the tagger cannot be used.
    """
    samples = load_samples(store, drawn)
    table = tag(store, samples_manifest(samples), tagger, progress)
    return share_shown(column, samples.of(column), table, look, least, advice)


def share_shown(
    name: str, samples: Sequence[Sample], table: TagTable, look: Look, least: float, advice: str
) -> GateResult:
    """The share of pictures that show every part; not measured if the tagger does not see what matters."""
    what = "3D look" if look.captioned else "hair, eyes or ears"
    meaning = f"share of pictures that show the style {'look' if look.captioned else 'character on white'}"
    if not look.measurable:
        return GateResult(
            name=name, passed=True, figure=None, bound=least, at_least=True, advice=advice,
            meaning=f"the tagger sees no {what} that the style screenshots have in common",
        )  # fmt: skip
    shown = [look.shown_by(table.images[sample.image]) for sample in samples]
    share = bootstrap([float(all(parts.values())) for parts in shown])
    return GateResult(
        name=name,
        passed=share.mean >= least,
        figure=share.mean,
        bound=least,
        at_least=True,
        meaning=meaning,
        advice=advice,
        details=(
            f"95 % interval {share.low:.2f} to {share.high:.2f}",
            *_details(shown, look.parts),
            *_misses(samples, shown),
        ),
    )


def _details(shown: Sequence[Mapping[str, bool]], parts: Mapping[str, Collection[str]]) -> list[str]:
    return [
        f"{part} in {sum(one[part] for one in shown)} of {len(shown)} pictures ({', '.join(tags)})"
        for part, tags in parts.items()
    ]


def _misses(samples: Sequence[Sample], shown: Sequence[Mapping[str, bool]]) -> list[str]:
    """The prompts whose pictures show something else, and what is missing."""
    return [
        f"missing {', '.join(part for part, there in parts.items() if not there)}: {sample.prompt}"
        for sample, parts in zip(samples, shown, strict=True)
        if not all(parts.values())
    ]
