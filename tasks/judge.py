"""Which epoch ships, by what the tagger reads off the samples."""

from functools import partial

from lora_core.captions.caption import caption
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags
from lora_core.recipe import Judging
from lora_core.refs import CheckpointRef, DatasetRef, ReportRef, TagsRef
from lora_core.tagging.select import Thresholds, select
from tasks.caching import step
from tasks.runtime import At, progress, say


@step("judge", version=1)
def judge(
    samples: ReportRef,
    pictures: DatasetRef,
    tags: TagsRef,
    rules: Rules,
    trigger: str,
    least: Thresholds,
    tagger: CheckpointRef,
    options: Judging,
    at: At,
) -> ReportRef:
    """Identity against leak, epoch by epoch, and the choice."""
    from lora_core.judging.verdict import judge_epochs, read_verdict

    store = at.open_store("judge")
    chosen = partial(select, least=least)
    _, edited = caption(load_manifest(store, pictures), load_tags(store, tags), rules, trigger, chosen)
    with progress("judge", "sample") as listen:
        verdict = judge_epochs(store, samples, edited, store.tree(tagger.sha256), options, listen)
    say(read_verdict(store, verdict).choice.reason)
    return verdict
