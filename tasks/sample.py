"""Every epoch side by side."""

from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.runtime import At, progress


@step("sample")
def sample_epochs(
    base: CheckpointRef, lora: LoraRef, options: Sampling, trigger: str, clip_skip: int, process: Process, at: At
) -> ReportRef:
    """Every prompt and seed, without the LoRA and with each epoch at each weight, on the original base."""
    from lora_core.sampling import epochs
    from lora_core.sampling.easel import Studio

    store, studio = at.open_store("sample"), Studio(clip_skip, process, at.device, at.speed)
    with progress("sample epochs", "step") as listen:
        return epochs.sample_epochs(store, base, lora, options, studio, trigger=trigger, progress=listen)
