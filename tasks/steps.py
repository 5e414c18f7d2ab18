"""The steps' names. Imports nothing, so that the command line can check them before anything heavy is there."""

from typing import Literal

Step = Literal[
    "preprocess",
    "tag",
    "caption",
    "check captions",
    "downscale",
    "train style",
    "check style",
    "merge",
    "check merge",
    "train character",
    "subtract",
    "sample",
    "judge",
    "transfer",
    "report",
]
"""The cached steps, by the name that the UI, the logs, `--dry-run` and `--force` know them by."""

Until = Literal[Step, "publish"]
"""Where a run may be told to stop."""

ON_ACCELERATOR: frozenset[Step] = frozenset(
    ("train style", "check style", "check merge", "train character", "sample", "transfer")
)
"""The steps that use a GPU where there is one; the others must not keep it from them."""

Branch = Literal["", "style", "character"]
"""The set a step is done for, where it is done for both."""
