"""The verdict on a LoRA's epochs: what was measured on their samples, and which one was chosen."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lora_core.captions.edit import Edited
from lora_core.captions.tags import canonical
from lora_core.dataset import Frozen, Manifest, TagTable
from lora_core.judging.character import CHARACTER, recognize
from lora_core.judging.choice import Choice, Ruling, choose_epoch
from lora_core.judging.evidence import Evidence, dataset_bias_of, drawn_anyway, probability, tags_of_prompt, traits_of
from lora_core.judging.leak import Look, Reader, find_look
from lora_core.judging.measure import EpochMetrics, Measurements, measure
from lora_core.judging.metrics import Metric, measured_in
from lora_core.judging.onnx_models import class_probabilities
from lora_core.judging.similarity import Embedded, compare, embed
from lora_core.progress import Progress
from lora_core.recipe import LEAK_TAGS, Judging, Outfit
from lora_core.refs import ReportRef
from lora_core.sampling.samples import NO_LORA, Sample, load_samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.tag import tag

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
    *,
    outfits: Sequence[Outfit] = (),
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
        embedder: an image encoder's files; under `CHARACTER` a character model's.
        outfits: of the character, with the tags that each is.

    Returns:
        A tree with `verdict.json`, a `Verdict`.

    Raises:
        TaggerError: the tagger, the classifier or the embedder cannot be used.
        GateError: there is no epoch to choose from, or not the one that the options name.
    """
    drawn = load_samples(store, samples)
    pictures = samples_manifest(drawn)
    encoder = {name: path for name, path in (embedder or {}).items() if not name.startswith(CHARACTER)}
    character = {name.removeprefix(CHARACTER): path for name, path in (embedder or {}).items() if name not in encoder}
    embedded = embed(store, drawn, training, encoder, progress) if encoder else None
    seen = tag(store, training, tagger)
    classes = class_probabilities(store, pictures, classifier, options.classifier_label) if classifier else None
    shots = class_probabilities(store, training, classifier, options.classifier_label) if classifier else {}
    table, traits = tag(store, pictures, tagger, progress), traits_of(edited)
    labels = frozenset(label.name for label in read_labels(tagger["selected_tags.csv"]))
    evidence = Evidence(
        table=table,
        labels=labels,
        similarity=compare(store, drawn, training),
        traits=traits,
        dataset_bias=dataset_bias_of(edited),
        copy_bits=options.copy_bits,
        classifier=classes,
        embedded=embedded,
        copy_cosine=options.copy_cosine,
        recognized=recognize(store, drawn, training, character, progress) if character else None,
        look=find_instruments(drawn.of(NO_LORA), table, seen, labels, (classes, shots), embedded),
        drawn_anyway=drawn_anyway(drawn.of(NO_LORA), table, traits),
        outfits={canonical(outfit.words): outfit.tags for outfit in outfits if outfit.words},
    )
    return _save(store, measure(drawn, evidence), options)


def find_instruments(
    base: Sequence[Sample], table: TagTable, seen: TagTable, labels: Collection[str],
    classes: tuple[Mapping[str, float] | None, Mapping[str, float]], embedded: Embedded | None,
    asked: Callable[[Sample], Sequence[str]] = lambda one: tags_of_prompt(one.prompt),
) -> Look:  # fmt: skip
    """What measures the look, from the scores of samples and screenshots, and the models' if there are any."""
    tags = {
        name: (
            partial(probability, table=table, tag=name),
            fmean(scores.general.get(name, 0.0) for scores in seen.images.values()),
        )
        for name in LEAK_TAGS
        if name in labels
    }
    classifier: tuple[str, Reader, float] | None = None
    embedder: tuple[str, Reader, float] | None = None
    values, shots = classes
    if values and shots:
        classifier = ("auxiliary classifier", lambda one: values[one.image], fmean(shots.values()))
    if embedded and embedded.mean:
        embedder = ("embedder", lambda one: embedded.mean[one.image], embedded.screenshots)
    return find_look(base, tags, classifier, embedder, asked)


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
