"""The verdict on a LoRA's epochs: what was measured, and by one stated rule which epoch ships, at which weight."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from lora_core.captions.edit import Edited
from lora_core.dataset import Frozen, Manifest
from lora_core.errors import GateError
from lora_core.judging import metrics
from lora_core.judging.evidence import Evidence, dataset_bias_of, traits_of
from lora_core.judging.measure import EpochMetrics, Measurements, measure
from lora_core.judging.metrics import IDENTITY, LEAK, Metric, measured_in
from lora_core.judging.onnx_models import class_probabilities
from lora_core.judging.similarity import compare, embed
from lora_core.progress import Progress
from lora_core.recipe import Judging
from lora_core.refs import ReportRef
from lora_core.sampling.samples import load_samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.tag import tag

RULE = (
    "Among the epochs × weights whose leak and copying are within bounds, the one with the highest lower bound of "
    "identity; ties go to the earlier epoch, then to the lower weight."
)


class Ruling(Frozen):
    """What the choice says of one epoch at one weight."""

    epoch: str
    weight: float
    within_bounds: bool
    chosen: bool
    reason: str = Field(description="Why it was chosen or not.")


class Choice(Frozen):
    """The epoch that ships."""

    epoch: str
    weight: float
    file: str
    reason: str
    by_hand: bool = Field(description="A person overruled the rule.")
    flagged: bool = Field(description="A person should look: nothing is within bounds, or a metric is missing.")
    bounds: Mapping[str, float] = Field(description="By metric, as the options have them.")
    table: tuple[Ruling, ...]

    @property
    def passed(self) -> bool:
        """Whether anything is within bounds."""
        return any(row.within_bounds for row in self.table)


def choose_epoch(measured: Measurements, options: Judging) -> Choice:
    """`RULE`, or what the options say by hand.

    If nothing is within bounds, what leaks least is taken and flagged; if no trait could be measured, the last one
    within bounds is taken and flagged.

    Raises:
        GateError: there is no epoch, or not the one that the options name.
    """
    every, bounds = measured.epochs, _bounds(options)
    if not every:
        raise GateError("no epoch was sampled; sample the epochs before judging them")
    ruled, reason, flagged = _by_rule(every, bounds)
    best, by_hand = _by_hand(every, ruled, options), bool(options.epoch or options.weight)
    if by_hand:
        reason = f"{_named(best)} was chosen by hand. By the rule: {reason}"
    if best.score(LEAK) is None:
        reason += " The 3D look was not measured: the tagger knows none of its tags."
    return Choice(
        epoch=best.epoch,
        weight=best.weight,
        file=best.file,
        reason=reason,
        by_hand=by_hand,
        flagged=(flagged and not by_hand) or best.score(LEAK) is None,
        bounds=bounds,
        table=tuple(_ruling(one, best, ruled, bounds, by_hand=by_hand) for one in every),
    )


def _bounds(options: Judging) -> dict[str, float]:
    return {metric.key: metric.bound(options) for metric in metrics.METRICS if metric.bound}


def _missed(one: EpochMetrics, bounds: Mapping[str, float]) -> str:
    """The bounds that are missed, in words; what was not measured misses none."""
    lines = (metric.missed(one.score(metric), bounds.get(metric.key)) for metric in metrics.METRICS)
    return "; ".join(line for line in lines if line)


def _by_rule(every: Sequence[EpochMetrics], bounds: Mapping[str, float]) -> tuple[EpochMetrics, str, bool]:
    """The choice, why, and whether a person should look."""
    within = [one for one in every if not _missed(one, bounds)]
    if not within:
        best = min(every, key=_leak)
        reason = (
            f"No epoch is within bounds; {_named(best)} leaks least ({_missed(best, bounds)}). "
            "Look at the grid: fewer epochs, a lower rank or more style screenshots usually help."
        )
        return best, reason, True
    measured = [(one, identity) for one in within if (identity := one.score(IDENTITY))]
    if not measured:
        best = within[-1]
        reason = (
            "Identity could not be measured: no trait that the tagger knows was taken out of the captions. "
            f"{_named(best)} is the last one within bounds."
        )
        return best, reason, True
    best, identity = max(measured, key=lambda pair: (pair[1].low, -int(pair[0].epoch), -pair[0].weight))
    reason = (
        f"{_named(best)} has the highest lower bound of identity ({IDENTITY.format(identity.low)}) among the "
        f"{len(within)} of {len(every)} epochs and weights whose leak and copying are within bounds."
    )
    return best, reason, False


def _by_hand(every: Sequence[EpochMetrics], ruled: EpochMetrics, options: Judging) -> EpochMetrics:
    """The one that a person names; where only an epoch or only a weight is named, the rest stays as the rule has it.

    Raises:
        GateError: it was not sampled.
    """
    epoch, weight = str(options.epoch or ruled.epoch), options.weight or ruled.weight
    found = next((one for one in every if (one.epoch, one.weight) == (epoch, weight)), None)
    if found is None:
        epochs, weights = (
            dict.fromkeys(texts) for texts in zip(*((e.epoch, f"{e.weight:g}") for e in every), strict=True)
        )
        raise GateError(
            f"judging: epoch {epoch} at weight {weight:g} was not sampled; epochs: {', '.join(epochs)}; weights: "
            f"{', '.join(weights)}"
        )
    return found


def _ruling(
    one: EpochMetrics, best: EpochMetrics, ruled: EpochMetrics, bounds: Mapping[str, float], *, by_hand: bool
) -> Ruling:
    missed = _missed(one, bounds)
    if one is best:
        reason = "chosen by hand" if by_hand else "chosen"
        reason += f", though {missed}" if missed else ""
    elif missed:
        reason = missed
    else:
        reason = "what the rule takes" if one is ruled else _why_not(one, ruled)
    return Ruling(epoch=one.epoch, weight=one.weight, within_bounds=not missed, chosen=one is best, reason=reason)


def _why_not(one: EpochMetrics, ruled: EpochMetrics) -> str:
    """Why it is not the one that the rule takes."""
    identity, better = one.score(IDENTITY), ruled.score(IDENTITY)
    if identity is None or better is None:
        return "identity was not measured"
    if identity.low == better.low:
        return "as good, but a later epoch" if int(one.epoch) > int(ruled.epoch) else "as good, but a higher weight"
    return f"lower bound of identity {IDENTITY.format(identity.low)}"


def _leak(one: EpochMetrics) -> float:
    leak = one.score(LEAK)
    return leak.mean if leak else 0.0


def _named(one: EpochMetrics) -> str:
    return f"Epoch {one.epoch} at weight {one.weight:g}"


VERDICT_FILE = "verdict.json"


class JudgedEpoch(NamedTuple):
    """One epoch at one weight: a row of every table."""

    metrics: EpochMetrics
    ruling: Ruling


class Verdict(Frozen):
    """What was measured and what was chosen: what is computed is what is reported."""

    measured: Measurements
    choice: Choice

    @property
    def rows(self) -> tuple[JudgedEpoch, ...]:
        """Every epoch at every weight, in drawing order."""
        pairs = zip(self.measured.epochs, self.choice.table, strict=True)
        return tuple(JudgedEpoch(one, ruling) for one, ruling in pairs)

    @property
    def chosen(self) -> JudgedEpoch:
        """The epoch and weight that ship."""
        return next(row for row in self.rows if row.ruling.chosen)

    @property
    def columns(self) -> list[Metric]:
        """The metrics that were measured at all."""
        return measured_in(one.scores for one in self.measured.epochs)


def judge_epochs(
    store: Store,
    samples: ReportRef,
    training: Manifest,
    edited: Sequence[Edited],
    tagger: Mapping[str, Path],
    options: Judging,
    progress: Progress,
    classifier: Mapping[str, Path] | None = None,
    embedder: Mapping[str, Path] | None = None,
) -> ReportRef:
    """Let the tagger read every sample, compare it with the screenshots, and choose the epoch.

    Args:
        store: where everything is.
        samples: of `sample_epochs`.
        training: the pictures the LoRA was trained on.
        edited: their captions, before and after.
        tagger: its files.
        options: bounds, and what a person says.
        progress: called after every sample.
        classifier: an auxiliary classifier's files.
        embedder: an image encoder's files.

    Returns:
        A tree with `verdict.json`, a `Verdict`.

    Raises:
        TaggerError: the tagger, the classifier or the embedder cannot be used.
        GateError: there is no epoch to choose from, or not the one that the options name.
    """
    drawn = load_samples(store, samples)
    pictures = samples_manifest(drawn)
    embedded = embed(store, drawn, training, embedder, progress) if embedder else None
    evidence = Evidence(
        table=tag(store, pictures, tagger, progress),
        labels=frozenset(label.name for label in read_labels(tagger["selected_tags.csv"])),
        similarity=compare(store, drawn, training),
        traits=traits_of(edited),
        dataset_bias=dataset_bias_of(edited),
        copy_bits=options.copy_bits,
        classifier=class_probabilities(store, pictures, classifier, options.classifier_label) if classifier else None,
        embedded=embedded,
        copy_cosine=options.copy_cosine,
    )
    return _save(store, measure(drawn, evidence), options)


def overrule(store: Store, ref: ReportRef, options: Judging) -> ReportRef:
    """The same scores with the choice that the options now make.

    Raises:
        GateError: the options name what was not sampled.
    """
    return _save(store, read_verdict(store, ref).measured, options)


def read_verdict(store: Store, ref: ReportRef) -> Verdict:
    """Read a verdict."""
    return Verdict.model_validate_json(store.tree(ref.sha256)[VERDICT_FILE].read_bytes())


def _save(store: Store, found: Measurements, options: Judging) -> ReportRef:
    verdict = Verdict(measured=found, choice=choose_epoch(found, options))
    file = store.path(store.put_json(verdict.model_dump(mode="json")))
    return ReportRef(sha256=store.put_tree({VERDICT_FILE: file}))
