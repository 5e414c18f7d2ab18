"""Every epoch side by side."""

from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.groups import Drawing
from tasks.runtime import RunContext, progress


@step("sample")
def sample_epochs(base: CheckpointRef, lora: LoraRef, trigger: str, drawing: Drawing, at: RunContext) -> ReportRef:
    """Every prompt and seed, without the LoRA and with each epoch at each weight, on the original base."""
    from lora_core.sampling import epochs
    from lora_core.sampling.sampler import SamplerConfig

    store, config = at.open_store("sample"), SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    with progress("sample epochs", "step") as listen:
        return epochs.sample_epochs(store, base, lora, drawing.options, config, trigger=trigger, progress=listen)
