"""Compositions that no author gave, from the tagger's scores; and what the sets have against the plan."""

from collections.abc import Iterator, Mapping

from lora_core.captions.rules import Rules
from lora_core.dataset import Manifest, load_manifest, load_tags, named_sets, save_manifest
from lora_core.images import coverage
from lora_core.images.composition import refuse_doubtful, settle, without_doubtful
from lora_core.recipe import Composition, Preprocess, ShotPlan
from lora_core.refs import DatasetRef, TagsRef
from tasks.runtime import RunContext, say
from tasks.walking import helper


@helper(peek="run")
def settle_style(squares: DatasetRef, tags: TagsRef, at: RunContext) -> DatasetRef:
    """Compositions and views of the style set; what stays in doubt is flagged, since no caption depends on it."""
    store = at.open_store()
    return save_manifest(store, settle(load_manifest(store, squares), load_tags(store, tags), {}))


@helper(peek="try")
def settle_for_captions(
    squares: DatasetRef, tags: TagsRef, rules: Rules, options: Preprocess, at: RunContext
) -> DatasetRef:
    """Compositions and views of a set that gets captions; what stays in doubt stops the run or is left out."""
    store = at.open_store()
    settled = settle(load_manifest(store, squares), load_tags(store, tags), framings(rules))
    if options.bad_pictures == "stop":
        refuse_doubtful(settled)
    return save_manifest(store, without_doubtful(settled))


def framings(rules: Rules) -> dict[str, Composition]:
    """What the caption rules say of single pictures: name → composition."""
    return {name: one.framing for name, one in rules.images.items() if one.framing is not None}


@helper()
def check_plan(style: DatasetRef | None, character: DatasetRef, plan: ShotPlan, at: RunContext) -> None:
    """Say what the sets lack and how much of them is for a person to look at; refuse an empty composition."""
    store = at.open_store()
    sets = named_sets(load_manifest(store, style) if style else None, load_manifest(store, character))
    found = coverage.coverage(plan, sets)
    for line in (*coverage.warnings(found), *_for_a_person(sets)):
        say(line, mark="!")
    coverage.refuse_empty(found)


def _for_a_person(sets: Mapping[str, Manifest]) -> Iterator[str]:
    for name, manifest in sets.items():
        left_out = sum(one.image is not None or not one.harmless for one in manifest.rejected)
        flagged = sum(bool(entry.flags) for entry in manifest.entries)
        counts = [f"{count} {what}" for count, what in ((left_out, "left out"), (flagged, "to look at")) if count]
        if counts:
            yield f"{name} pictures: {', '.join(counts)}; --dry-run says why, and so does the report"
