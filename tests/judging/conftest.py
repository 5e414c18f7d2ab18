"""The tiny base model of the sampling tests."""

import importlib.util
from pathlib import Path

_SOURCE = Path(__file__).parents[1] / "sampling" / "conftest.py"
_spec = importlib.util.spec_from_file_location("tiny_base", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
_tiny_base = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_tiny_base)

base_files, store, base, lora = _tiny_base.base_files, _tiny_base.store, _tiny_base.base, _tiny_base.lora
