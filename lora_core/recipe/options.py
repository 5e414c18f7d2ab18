"""What every section of the recipe is made of."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

_MOST_LETTERS = 4000
"""Of a text: as long as Linux lets a path be, and fifty times what a text encoder reads of a prompt."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOST_COUNTED = 1 << 63


@dataclass(frozen=True)
class OnDisk:
    """Marks an option that names a file or folder: a relative one is taken from the recipe's folder.

    Attributes:
        or_repository: the option can name a hub repository instead.
    """

    or_repository: bool = False


def _for_forms(schema: dict[str, Any]) -> None:
    """Number the fields, since a database may hand a form's schema back in another order; texts in one line."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position
        if "description" in field:
            field["description"] = _in_one_line(field["description"])


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


class Options(BaseModel):
    """A closed, frozen set of options."""

    # The text under a field is its description: in forms, in `headcanon new` and in the docs.
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_for_forms, use_attribute_docstrings=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Put the docstrings of fields, which are wrapped in the source, into one line."""
        for field in cls.model_fields.values():
            field.description = _in_one_line(field.description) if field.description else None

    @classmethod
    def on_disk(cls) -> Iterator[tuple[str, OnDisk]]:
        """The options that name files or folders."""
        for name, field in cls.model_fields.items():
            yield from ((name, mark) for mark in field.metadata if isinstance(mark, OnDisk))

    @field_validator("*")
    @classmethod
    def _within_reason(cls, value: Any) -> Any:
        """Refuse what no option is: a pasted file, a letter that cannot be seen, a number that no machine counts to."""
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and len(one) > _MOST_LETTERS:
                raise ValueError(f"has {len(one):,} letters, more than {_MOST_LETTERS:,}; is it the right text?")
            if isinstance(one, str) and (found := _UNSEEN.search(one)):
                raise ValueError(f"holds the control character {found[0]!r}; write it without")
            if isinstance(one, int) and abs(one) >= _MOST_COUNTED:
                raise ValueError("is too large a number; take one below 2 to the power of 63")
        return value


TRIGGER = r"^[^\s,()\\:<>|\[\]]+$"
