"""References: what travels between steps instead of data.

A ref is a kind and the SHA-256 of the canonical JSON that describes the data (a manifest). It is about 100 bytes,
equal content has equal refs, and the bytes behind it live in the store.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in lower-case hexadecimal.")]


_PENDING = "pending"


class Ref(BaseModel):
    """Kind and digest of something in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    sha256: Digest

    @property
    def is_pending(self) -> bool:
        """Whether it stands for something that is not made yet (`pending`)."""
        return self.sha256.startswith(_PENDING)


class DatasetRef(Ref):
    """A `dataset.Manifest`: pictures with composition and caption."""

    kind: Literal["dataset"] = "dataset"


class TagsRef(Ref):
    """A `dataset.TagTable`: raw tagger scores, one row a picture."""

    kind: Literal["tags"] = "tags"


class CaptionsRef(Ref):
    """A `captions.caption.EditedCaptions`: pictures with captions, and why each caption is as it is."""

    kind: Literal["captions"] = "captions"


class CheckpointRef(Ref):
    """A `store.Tree`: a base model, one single file or a diffusers folder."""

    kind: Literal["checkpoint"] = "checkpoint"


class LoraRef(Ref):
    """A `store.Tree`: the LoRA's files, one an epoch."""

    kind: Literal["lora"] = "lora"


class ReportRef(Ref):
    """A `store.Tree`: pictures, figures and pages of a check or a report."""

    kind: Literal["report"] = "report"


R = TypeVar("R", bound=Ref)


def pending(kind: type[R], what: str = "") -> R:
    """A ref of something that is not made yet. It is in no store, and no key is made of it.

    Args:
        kind: of the ref.
        what: is waited for, so that two that wait for different things differ.
    """
    return kind.model_construct(kind=kind.model_fields["kind"].default, sha256=f"{_PENDING} {what}")
