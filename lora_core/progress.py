"""How long work tells where it stands, without knowing who listens."""

from typing import Protocol


class Progress(Protocol):
    """Called whenever a piece of work is done."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces are finished; `note` adds figures such as a loss."""


def silent(done: int, total: int, note: str = "") -> None:
    """The listener that does nothing."""
