"""How long work tells where it stands, without knowing who listens."""

from typing import Protocol


class Stopped(BaseException):
    """Work was asked to end before it was finished. What it had done is kept; whoever raises it again says where.

    Attributes:
        kept: what was saved last, such as "step 37 of 120"; empty: nothing that a message should name.
    """

    kept: str = ""


class Progress(Protocol):
    """Called whenever a piece of work is done."""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """`done` of `total` pieces are finished; `note` adds figures such as a loss.

        Raises:
            Stopped: the work is to end now. A training saves its state first.
        """


def silent(done: int, total: int, note: str = "") -> None:
    """The listener that does nothing."""
