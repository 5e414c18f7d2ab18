"""Every epoch side by side."""

from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.runtime import At, progress


@step("sample", version=1)
def sample_epochs(
    base: CheckpointRef, lora: LoraRef, options: Sampling, trigger: str, clip_skip: int, process: Process, at: At
) -> ReportRef:
    """Every prompt and seed, without the LoRA and with each epoch, on the original base."""
    from lora_core.sampling import epochs

    with progress("sample epochs", "step") as listen:
        return epochs.sample_epochs(
            at.open_store("sample"),
            base,
            lora,
            options,
            clip_skip=clip_skip,
            device=at.device,
            trigger=trigger,
            progress=listen,
            process=process,
        )
