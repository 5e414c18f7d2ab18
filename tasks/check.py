"""The two checks of the method: did the style take, and does the merged model draw nothing else?"""

from lora_core.judging.checks import with_gate
from lora_core.recipe import Merge, Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.runtime import At, progress, say


@step("check style", version=1)
def check_style(
    base: CheckpointRef, lora: LoraRef, tokens: str, options: Sampling, clip_skip: int, process: Process, at: At
) -> ReportRef:
    """The style LoRA on the base is meant to draw the style character on white."""
    from lora_core.sampling.epochs import sample_check

    with progress("check style", "step") as listen:
        return sample_check(
            at.open_store("check style"),
            base,
            lora,
            (tokens, *(f"{tokens}, {prompt}" for prompt in options.style_prompts)),
            options,
            label="style",
            clip_skip=clip_skip,
            device=at.device,
            progress=listen,
            process=process,
        )


@step("check merge", version=1)
def check_merge(
    base: CheckpointRef,
    lora: LoraRef,
    merged: CheckpointRef,
    merge: Merge,
    options: Sampling,
    clip_skip: int,
    process: Process,
    at: At,
) -> ReportRef:
    """The merged model must equal base + LoRA, and is meant to draw the style character whatever the prompt."""
    from lora_core.judging import gates
    from lora_core.sampling.epochs import sample_check

    store = at.open_store("check merge")
    gate = gates.merge_gate(store, base, lora, merged, weight=merge.weight, clip_skip=clip_skip, device=at.device)
    say(gates.require(gate).line)
    with progress("check merge", "step") as listen:
        drawn = sample_check(
            store,
            merged,
            None,
            options.style_prompts,
            options,
            label="merged",
            clip_skip=clip_skip,
            device=at.device,
            progress=listen,
            process=process,
        )
    return with_gate(store, drawn, gate)
