"""Disks so small that they fill up."""

from collections.abc import Callable
from pathlib import Path

SmallDisk = Callable[[int], Path]
"""Mounts an empty disk of so many KiB and returns its folder; skips the test where that is not allowed."""
