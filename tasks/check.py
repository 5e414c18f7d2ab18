"""The checks between the stages: their pictures and figures. What becomes of a figure is decided in `flows/gate.py`."""

from lora_core.captions.caption import load_captions
from lora_core.captions.check import examine, gathered
from lora_core.captions.rules import Rules
from lora_core.dataset import load_manifest, load_tags
from lora_core.judging.gates import GateResult, read_gates, with_gates
from lora_core.refs import CaptionsRef, CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.groups import Drawing, Merging, TaggedSet
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper

_STYLE_ADVICE = (
    "train the style longer, at a higher rank or learning rate, or with more screenshots on plain white; "
    "[gates] style_share is the bound"
)
_MERGE_ADVICE = (
    "a stronger merge ([merge] weight), a longer or stronger style training, or the parent model of a merge model as "
    "the base usually help; [gates] merge_share is the bound"
)


@step("check style")
def check_style(
    base: CheckpointRef,
    lora: LoraRef,
    tokens: str,
    style: TaggedSet,
    least: float,
    drawing: Drawing,
    at: RunContext,
) -> ReportRef:
    """The style LoRA on the base is meant to draw the style character on white."""
    from lora_core.judging.styled import look_gate, look_of
    from lora_core.sampling.epochs import sample_style
    from lora_core.sampling.sampler import SamplerConfig

    store = at.open_store("check style")
    look = look_of(load_manifest(store, style.pictures), load_tags(store, style.tags))
    with progress("check style", "step") as listen:
        config = SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
        drawn = sample_style(store, base, lora, tokens, drawing.options, config, listen)
    with progress("read style check", "sample") as listen:
        gate = look_gate(store, drawn, "style", look, store.tree(style.tagger.sha256), least, _STYLE_ADVICE, listen)
    return with_gates(store, drawn, [gate])


@step("check merge")
def check_merge(
    merged: CheckpointRef, made_of: Merging, style: TaggedSet, least: float, drawing: Drawing, at: RunContext
) -> ReportRef:
    """The merged model must equal base + LoRA, and is meant to draw the style character whatever the prompt."""
    from lora_core.judging.merged import merge_gate
    from lora_core.judging.styled import look_gate, look_of
    from lora_core.sampling.epochs import sample_merged
    from lora_core.sampling.sampler import SamplerConfig

    store = at.open_store("check merge")
    look = look_of(load_manifest(store, style.pictures), load_tags(store, style.tags))
    (base, lora, merge), clip_skip = made_of, drawing.clip_skip
    equal = merge_gate(store, base, lora, merged, weight=merge.weight, clip_skip=clip_skip, device=at.device)
    with progress("check merge", "step") as listen:
        config = SamplerConfig(clip_skip, drawing.process, at.device, at.speed)
        drawn = sample_merged(store, merged, drawing.options.style_prompts, drawing.options, config, listen)
    with progress("read merge check", "sample") as listen:
        gate = look_gate(store, drawn, "merged", look, store.tree(style.tagger.sha256), least, _MERGE_ADVICE, listen)
    return with_gates(store, drawn, [equal, gate])


@step("check captions")
def check_captions(captions: CaptionsRef, rules: Rules, most_tokens: int, at: RunContext) -> ReportRef:
    """Captions that break their rules: a forgotten hair colour, two framings, no trigger (`caption --check`)."""
    from lora_core.diffusion.tokenizer import token_counter

    store = at.open_store("check captions")
    known = load_captions(store, captions)
    findings = gathered(examine(known.edited, rules, known.trigger, token_counter(), most_tokens))
    failing = [str(finding) for finding in findings if finding.fails]
    gate = GateResult(
        name="captions",
        passed=not failing,
        figure=float(len(failing)),
        bound=0,
        at_least=False,
        meaning=f"rule {'violation' if len(failing) == 1 else 'violations'}" + (f" ({failing[0]})" if failing else ""),
        counted=True,
        advice="`headcanon caption RECIPE --check` names them all; mend the rule file or the captions",
        details=tuple(str(finding) for finding in findings),
    )
    return with_gates(store, None, [gate])


@helper()
def tell_findings(told: ReportRef, at: RunContext) -> None:
    """What is to be said of the captions, every time: a result that was found cached has it too."""
    for gate in read_gates(at.open_store(), told):
        for finding in gate.details:
            say(finding, mark="!")
