"""Every epoch side by side; and, of a LoRA that is published, what somebody wants to see besides."""

from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.report.published import Further, Published
from tasks.caching import step, uncached
from tasks.groups import Drawing
from tasks.runtime import RunContext, accelerator, progress


@step("sample")
def sample_epochs(base: CheckpointRef, lora: LoraRef, trigger: str, drawing: Drawing, at: RunContext) -> ReportRef:
    """Every prompt and seed, without the LoRA and with each epoch at each weight, on the original base."""
    from lora_core.sampling import epochs
    from lora_core.sampling.sampler import SamplerConfig

    store, config = at.open_store("sample"), SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    with progress("sample epochs", "step") as listen:
        return epochs.sample_epochs(store, base, lora, drawing.options, config, trigger=trigger, progress=listen)


@uncached("draw more")
def draw_more(published: Published, asked: Further, at: RunContext) -> str:
    """Pictures into the published folder; those that were drawn before are found in the store. Returns their folder."""
    from lora_core.report.further import draw_further

    with accelerator("sample", at), progress("draw more", "step") as listen:
        return str(draw_further(at.open_store(), published, asked, device=at.device, speed=at.speed, progress=listen))
