"""What every section of the recipe is made of."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

_MOST_LETTERS = 4000
"""Of a text: as long as Linux lets a path be, and fifty times what a text encoder reads of a prompt."""
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOST_COUNTED = 1 << 63


def _in_order(schema: dict[str, Any]) -> None:
    """Number the fields: a database may hand a form's schema back in another order."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Options(BaseModel):
    """A closed, frozen set of options."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_in_order)

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
