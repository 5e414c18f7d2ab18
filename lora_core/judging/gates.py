"""What a check between two steps came to, and what becomes of a run that misses its bound."""

from pydantic import Field

from lora_core.dataset import Frozen


class GateResult(Frozen):
    """One check: a value, its bound, and what to do when it was not passed."""

    name: str
    passed: bool
    figure: float | None = Field(description="None: it could not be measured, which bars nothing.")
    bound: float
    at_least: bool = Field(description="Whether the value must be at least the bound (else at most).")
    meaning: str = Field(description="What the value is, in words.")
    advice: str = Field(description="What usually helps when the check is not passed.")
    details: tuple[str, ...] = Field(default=(), description="What the value is made of, for a person.")

    @property
    def line(self) -> str:
        """The result in one line."""
        if self.figure is None:
            return f"{self.name}: not measured ({self.meaning})"
        side = "at least" if self.at_least else "at most"
        return f"{self.name}: {self.meaning} {_number(self.figure)}, {side} {self.bound:g}"

    @property
    def story(self) -> str:
        """The line, and what usually helps if the check was not passed."""
        return self.line if self.passed else f"{self.line}; {self.advice}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else f"{value:.3f}"
