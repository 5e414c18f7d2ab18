"""What every section of the recipe is made of."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """A closed, frozen set of options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


TRIGGER = r"^[^\s,()\\:<>|\[\]]+$"
