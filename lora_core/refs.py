"""References: what travels between steps instead of data.

A ref is a kind and the SHA-256 of the canonical JSON that describes the data (a manifest). It is about 100 bytes,
equal content has equal refs, and the bytes behind it live in the store.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal.")]


class Ref(BaseModel):
    """Kind and digest of something in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    sha256: Digest


class DatasetRef(Ref):
    """A `dataset.Manifest`: pictures with composition and caption."""

    kind: Literal["dataset"] = "dataset"


class TagsRef(Ref):
    """A `dataset.TagTable`: raw tagger scores, one row a picture."""

    kind: Literal["tags"] = "tags"


class CheckpointRef(Ref):
    """A `store.Tree`: a base model, one single file or a diffusers folder."""

    kind: Literal["checkpoint"] = "checkpoint"


class LoraRef(Ref):
    """A `store.Tree`: the LoRA's files, one an epoch."""

    kind: Literal["lora"] = "lora"


class ReportRef(Ref):
    """A `store.Tree`: pictures, figures and pages of a check or a report."""

    kind: Literal["report"] = "report"
