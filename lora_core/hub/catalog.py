"""Models by short names: where they are, and what their files' SHA-256 is known to be (catalog.toml)."""

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple


class Known(NamedTuple):
    """A model of the catalog."""

    name: str
    title: str
    repository: str
    files: Mapping[str, str]
    """File in the repository → its SHA-256; empty: not known."""


@functools.cache
def catalog() -> Mapping[str, Known]:
    """Every known model by its short name."""
    text = resources.files("lora_core.hub").joinpath("catalog.toml").read_text("utf-8")
    return {name: Known(name, **entry) for name, entry in tomllib.loads(text).items()}
