"""What a report is made of."""

from pydantic import BaseModel, ConfigDict

from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef


class ReportInputs(BaseModel):
    """What a run made, step by step; the names are those of report.json and of the step's key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: CheckpointRef
    style_squares: DatasetRef | None
    squares: DatasetRef
    pictures: DatasetRef
    captioned: DatasetRef
    style_lora: LoraRef | None = None
    style_check: ReportRef | None = None
    merge_check: ReportRef | None = None
    lora: LoraRef
    samples: ReportRef
    caption_check: ReportRef | None = None
    successor_check: ReportRef | None = None
    verdict: ReportRef
    transfer: tuple[tuple[str, ReportRef], ...] = ()
