"""Which epoch ships, and at which weight, by the metrics of the samples."""

from functools import partial

from lora_core.captions.caption import caption
from lora_core.captions.edit import Edited
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags
from lora_core.recipe import Judging, Sampling
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef, TagsRef
from lora_core.store import Store
from lora_core.tagging.select import Thresholds, select
from tasks.caching import step
from tasks.runtime import At, progress, say
from tasks.walking import helper


@step("judge")
def judge(
    samples: ReportRef,
    pictures: DatasetRef,
    tags: TagsRef,
    rules: Rules,
    trigger: str,
    least: Thresholds,
    tagger: CheckpointRef,
    classifier: CheckpointRef | None,
    embedder: CheckpointRef | None,
    options: Judging,
    at: At,
) -> ReportRef:
    """Every metric of every epoch × weight, and the choice."""
    from lora_core.judging.verdict import judge_epochs, read_verdict

    store = at.open_store("judge")
    edited = _edited(store, pictures, tags, rules, trigger, least)
    auxiliary, encoder = (store.tree(found.sha256) if found else None for found in (classifier, embedder))
    training, files = load_manifest(store, pictures), store.tree(tagger.sha256)
    with progress("judge", "sample") as listen:
        verdict = judge_epochs(store, samples, training, edited, files, options, listen, auxiliary, encoder)
    say(read_verdict(store, verdict).choice.reason)
    return verdict


@step("transfer")
def transfer(
    base: CheckpointRef,
    lora: LoraRef,
    verdict: ReportRef,
    pictures: DatasetRef,
    tags: TagsRef,
    rules: Rules,
    trigger: str,
    least: Thresholds,
    tagger: CheckpointRef,
    sampling: Sampling,
    options: Judging,
    clip_skip: int,
    at: At,
) -> ReportRef:
    """The chosen epoch on another base: its samples, and the same metrics against that base."""
    from lora_core.judging.verdict import judge_epochs, read_verdict
    from lora_core.recipe import Process
    from lora_core.sampling.epochs import sample_epochs
    from lora_core.sampling.sampler import SamplerConfig
    from lora_core.sampling.samples import Column

    store, choice = at.open_store("transfer"), read_verdict(at.open_store(), verdict).choice
    only, config = Column(choice.epoch, choice.weight), SamplerConfig(clip_skip, Process(), at.device, at.speed)
    with progress("transfer", "step") as listen:
        samples = sample_epochs(store, base, lora, sampling, config, trigger=trigger, progress=listen, only=only)
    edited, training = _edited(store, pictures, tags, rules, trigger, least), load_manifest(store, pictures)
    by_rule = options.model_copy(update={"epoch": 0, "weight": 0})
    with progress("judge transfer", "sample") as listen:
        judged = judge_epochs(store, samples, training, edited, store.tree(tagger.sha256), by_rule, listen)
    return ReportRef(sha256=store.put_tree({**store.tree(samples.sha256), **store.tree(judged.sha256)}))


@helper()
def overrule(verdict: ReportRef, options: Judging, at: At) -> ReportRef:
    """The same scores with the choice that a person makes."""
    from lora_core.judging import verdict as verdicts

    store = at.open_store()
    chosen = verdicts.overrule(store, verdict, options)
    say(verdicts.read_verdict(store, chosen).choice.reason)
    return chosen


def _edited(
    store: Store, pictures: DatasetRef, tags: TagsRef, rules: Rules, trigger: str, least: Thresholds
) -> tuple[Edited, ...]:
    chosen = partial(select, least=least)
    return caption(load_manifest(store, pictures), load_tags(store, tags), rules, trigger, chosen)[1]
