"""The steps' names. Imports nothing heavy, so that the command line can check them before anything heavy is there."""

from typing import Literal

from lora_core.versions import Step as Step

Until = Literal[Step, "publish"]
"""Where a run may be told to stop."""

ON_ACCELERATOR: frozenset[Step] = frozenset(
    ("look", "train style", "check style", "check merge", "train character", "redraw", "sample", "transfer")
)
"""The steps that use a GPU where there is one; the others must not keep it from them."""

Branch = Literal["", "style", "character", "redrawn"]
"""The set a step is done for, where it is done for several."""
