"""What the helper process finds out about a character, as the page shows it."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Picture:
    """One screenshot: `caption` is empty, and `doubt` says why, where there can be none."""

    name: str
    source: str
    image: str
    composition: str
    flags: tuple[str, ...]
    caption: str
    before: str
    reasons: tuple[tuple[str, str, tuple[str, ...]], ...]
    doubt: str


class LeftOut(NamedTuple):
    """A file that is not in the set, with its digest where there is a picture to show."""

    source: str
    reason: str
    image: str


@dataclass(frozen=True)
class Shown:
    """All of a character but the options.

    Attributes:
        error: what a run would stop at; empty: nothing.
        pictures: of the set, in its order.
        left_out: files that are not in it.
        findings: what the check says of the captions.
        plan: a dry run; None: not possible yet, and `error` says why.
    """

    error: str = ""
    pictures: tuple[Picture, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    findings: tuple[str, ...] = ()
    plan: "Planned | None" = None


@dataclass(frozen=True)
class Planned:
    """A dry run in figures.

    Attributes:
        rows: composition, how many are planned, how many are there.
        trainings: name, samples an epoch, steps, epochs.
        memory_gb: that training takes.
        seconds: that training and drawing take, without `unmeasured`, which this machine has not done yet.
        steps: name, set, whether it is cached.
        remarks: what the sets do not share.
    """

    rows: tuple[tuple[str, int, int], ...]
    trainings: tuple[tuple[str, int, int, int], ...]
    memory_gb: float
    seconds: float
    unmeasured: tuple[str, ...]
    steps: tuple[tuple[str, str, bool], ...]
    remarks: tuple[str, ...]
