"""What every section of the recipe is made of."""

from typing import Any

from pydantic import BaseModel, ConfigDict


def _in_order(schema: dict[str, Any]) -> None:
    """Number the fields: a database may hand a form's schema back in another order."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Options(BaseModel):
    """A closed, frozen set of options."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_in_order)


TRIGGER = r"^[^\s,()\\:<>|\[\]]+$"
