"""The verdict on a LoRA's epochs: what was measured, and which one ships, as files in the store."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_core.captions.edit import Edited
from lora_core.dataset import Frozen, Manifest
from lora_core.judging.classifier import opinions
from lora_core.judging.embedded import embed
from lora_core.judging.epoch import Choice, choose_epoch
from lora_core.judging.evidence import Evidence
from lora_core.judging.habits import habits_of, traits_of
from lora_core.judging.likeness import compare
from lora_core.judging.scores import EpochFigures, Figures, measure
from lora_core.progress import Progress
from lora_core.recipe import Judging
from lora_core.refs import ReportRef
from lora_core.sampling.samples import load_samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.tag import tag

VERDICT_FILE = "verdict.json"


class Verdict(Frozen):
    """What was measured and what was chosen."""

    figures: Figures
    choice: Choice

    @property
    def chosen(self) -> EpochFigures:
        """The figures of the epoch and weight that ship."""
        choice = (self.choice.epoch, self.choice.weight)
        return next(one for one in self.figures.epochs if (one.epoch, one.weight) == choice)


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
        progress: told after every sample.
        classifier: a second opinion's files.
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
        likeness=compare(store, drawn, training),
        traits=traits_of(edited),
        habits=habits_of(edited),
        copy_bits=options.copy_bits,
        second=opinions(store, pictures, classifier, options.classifier_label) if classifier else None,
        embedded=embedded,
        copy_cosine=options.copy_cosine,
    )
    figures = measure(drawn, evidence)
    return _save(store, Verdict(figures=figures, choice=choose_epoch(figures, options)))


def overrule(store: Store, ref: ReportRef, options: Judging) -> ReportRef:
    """The same figures with the choice that the options now make.

    Raises:
        GateError: the options name what was not sampled.
    """
    figures = read_verdict(store, ref).figures
    return _save(store, Verdict(figures=figures, choice=choose_epoch(figures, options)))


def read_verdict(store: Store, ref: ReportRef) -> Verdict:
    """The verdict behind a ref."""
    return Verdict.model_validate_json(store.tree(ref.sha256)[VERDICT_FILE].read_bytes())


def _save(store: Store, verdict: Verdict) -> ReportRef:
    file = store.path(store.put_json(verdict.model_dump(mode="json")))
    return ReportRef(sha256=store.put_tree({VERDICT_FILE: file}))
