"""The steps and their versions, in one table. Imports nothing, so that the command line can read it first of all.

Raise a step's version whenever the same inputs give another output: what it came to is then made again, and so is every
single picture that was kept on the way.
"""

from collections.abc import Mapping
from typing import Literal

Step = Literal[
    "preprocess",
    "tag",
    "look",
    "caption",
    "check captions",
    "downscale",
    "train style",
    "check style",
    "merge",
    "check merge",
    "train character",
    "subtract",
    "redraw",
    "select",
    "sample",
    "judge",
    "transfer",
    "report",
]
"""The cached steps, by the name that the UI, the logs, `--dry-run` and `--force` know them by."""

Piece = Literal[
    "picture header",
    "thumbnail",
    "latent",
    "sampled picture",
    "picture embedding",
    "picture hash",
    "picture class",
    "picture character",
]
"""What is kept of a single picture and shared by several steps."""

VERSIONS: Mapping[str, int] = {
    "preprocess": 6,
    "tag": 1,
    "look": 2,
    "caption": 3,
    "check captions": 4,
    "downscale": 3,
    "train style": 3,
    "check style": 5,
    "merge": 3,
    "check merge": 5,
    "train character": 4,
    "subtract": 1,
    "redraw": 1,
    "select": 2,
    "sample": 4,
    "judge": 7,
    "transfer": 7,
    "report": 12,
}

SHARED_BY: Mapping[str, tuple[Step, ...]] = {
    "picture header": ("preprocess",),
    "thumbnail": ("preprocess", "report"),
    "latent": ("train style", "train character"),
    "sampled picture": ("check style", "check merge", "sample", "transfer"),
    "picture embedding": ("judge", "transfer"),
    "picture hash": ("judge", "transfer"),
    "picture class": ("judge", "transfer"),
    "picture character": ("judge", "transfer"),
}


def version_of(work: Step | Piece) -> int:
    """The version of a step; of a piece that steps share, the sum of theirs: raising any of them makes it again."""
    if work in VERSIONS:
        return VERSIONS[work]
    return sum(VERSIONS[step] for step in SHARED_BY[work])
