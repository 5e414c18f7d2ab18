"""Which epoch ships, and at which weight, by the metrics of the samples."""

from lora_core.captions.caption import load_captions
from lora_core.recipe import Judging
from lora_core.refs import CaptionsRef, CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.groups import Drawing, Judge
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper


@step("judge")
def judge(samples: ReportRef, captions: CaptionsRef, by: Judge, at: RunContext) -> ReportRef:
    """Every metric of every epoch × weight, and the choice."""
    from lora_core.judging.verdict import judge_epochs, read_verdict

    store = at.open_store("judge")
    known, tagger = load_captions(store, captions), store.tree(by.tagger.sha256)
    others = (store.tree(found.sha256) if found else None for found in (by.classifier, by.embedder))
    with progress("judge", "sample") as listen:
        verdict = judge_epochs(
            store, samples, known.manifest, known.edited, tagger, by.judging, listen, *others, outfits=known.outfits
        )
    say(read_verdict(store, verdict).choice.reason)
    return verdict


@step("transfer")
def transfer(
    base: CheckpointRef,
    lora: LoraRef,
    verdict: ReportRef,
    captions: CaptionsRef,
    by: Judge,
    drawing: Drawing,
    at: RunContext,
) -> ReportRef:
    """The chosen epoch on another base: its samples, and the same metrics against that base."""
    from lora_core.judging.verdict import judge_epochs, read_verdict
    from lora_core.sampling.epochs import sample_epochs
    from lora_core.sampling.sampler import SamplerConfig
    from lora_core.sampling.samples import Column

    store, choice = at.open_store("transfer"), read_verdict(at.open_store(), verdict).choice
    known, tagger = load_captions(store, captions), store.tree(by.tagger.sha256)
    only = Column(choice.epoch, choice.weight)
    config = SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    with progress("transfer", "step") as listen:
        samples = sample_epochs(
            store, base, lora, drawing.options, config, trigger=known.trigger, progress=listen, only=only
        )
    by_rule = by.judging.model_copy(update={"epoch": 0, "weight": 0})
    with progress("judge transfer", "sample") as listen:
        judged = judge_epochs(
            store, samples, known.manifest, known.edited, tagger, by_rule, listen, outfits=known.outfits
        )
    return ReportRef(sha256=store.put_tree({**store.tree(samples.sha256), **store.tree(judged.sha256)}))


@helper()
def overrule(verdict: ReportRef, options: Judging, at: RunContext) -> ReportRef:
    """The same scores with the choice that a person makes."""
    from lora_core.judging import verdict as verdicts

    store = at.open_store()
    chosen = verdicts.overrule(store, verdict, options)
    say(verdicts.read_verdict(store, chosen).choice.reason)
    return chosen
