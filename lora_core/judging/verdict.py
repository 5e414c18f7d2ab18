"""The verdict on a LoRA's epochs: what was measured, and which one ships, as files in the store."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lora_core.captions.edit import Edited
from lora_core.dataset import Frozen
from lora_core.judging.epoch import Choice, choose_epoch
from lora_core.judging.scores import Figures, measure
from lora_core.progress import Progress
from lora_core.recipe import Judging
from lora_core.refs import ReportRef
from lora_core.sampling.samples import load_samples, samples_manifest
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.wd14 import tag

VERDICT_FILE = "verdict.json"
_LEAST_SHARE = 0.4


class Verdict(Frozen):
    """What was measured and what was chosen."""

    figures: Figures
    choice: Choice


def traits_of(edited: Sequence[Edited], least_share: float = _LEAST_SHARE) -> tuple[str, ...]:
    """What the character is: tags taken out as traits on at least this share of its pictures, the commonest first."""
    counts = Counter(
        change.tag
        for one in edited
        for change in one.changes
        if change.action == "removed" and change.rule.startswith("1 traits")
    )
    return tuple(tag for tag, count in counts.most_common() if count >= least_share * len(edited))


def judge_epochs(
    store: Store,
    samples: ReportRef,
    edited: Sequence[Edited],
    tagger: Mapping[str, Path],
    options: Judging,
    progress: Progress,
) -> ReportRef:
    """Let the tagger read every sample, measure identity and leak, and choose the epoch.

    Returns:
        A tree with `verdict.json`, a `Verdict`.

    Raises:
        TaggerError: the tagger cannot be used.
        GateError: there is no epoch to choose from.
    """
    drawn = load_samples(store, samples)
    table = tag(store, samples_manifest(drawn), tagger, progress)
    labels: Collection[str] = {label.name for label in read_labels(tagger["selected_tags.csv"])}
    figures = measure(drawn, table, traits=traits_of(edited), labels=labels)
    verdict = Verdict(figures=figures, choice=choose_epoch(figures, options))
    file = store.path(store.put_json(verdict.model_dump(mode="json")))
    return ReportRef(sha256=store.put_tree({VERDICT_FILE: file}))


def read_verdict(store: Store, ref: ReportRef) -> Verdict:
    """The verdict behind a ref."""
    return Verdict.model_validate_json(store.tree(ref.sha256)[VERDICT_FILE].read_bytes())
