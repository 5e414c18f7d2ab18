"""The character drawn anew on the base, and which pictures of it the final LoRA is trained on."""

from functools import partial

from lora_core.captions.caption import caption
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags, save_manifest
from lora_core.recipe import Judging, Process, Redraw, Sampling, ShotPlan
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef, TagsRef
from lora_core.store import Store
from lora_core.tagging.select import Thresholds, select
from tasks.caching import look, step
from tasks.runtime import At, progress


@step("redraw")
def redraw(
    base: CheckpointRef,
    lora: LoraRef,
    verdict: ReportRef,
    figure: ReportRef,
    plan: ShotPlan,
    options: Redraw,
    sampling: Sampling,
    clip_skip: int,
    process: Process,
    at: At,
) -> ReportRef:
    """Every scene with the epoch and weight that were chosen."""
