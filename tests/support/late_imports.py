"""A finder that watches and slows down first imports, for a process of its own."""

import sys
import threading
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

SLOW_SECONDS = {"transformers": 0.02, "diffusers": 0.02, "peft": 0.02, "torch": 0.001}
HEAVY = (*SLOW_SECONDS, "accelerate", "onnxruntime", "numpy", "PIL", "lora_core")


class _Watch(MetaPathFinder):
    def __init__(self, log: Path, slow: bool) -> None:
        self._log, self._slow = log, slow

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        package = fullname.partition(".")[0]
        if package in HEAVY and threading.current_thread() is not threading.main_thread():
            with self._log.open("a") as log:
                log.write(f"{fullname} in {threading.current_thread().name}\n")
        if self._slow:
            time.sleep(SLOW_SECONDS.get(package, 0))
        return None


def watch(log: Path, *, slow: bool = False) -> None:
    """Write what is first imported in another thread than the main one to `log`; let imports take their time."""
    log.touch()
    sys.meta_path.insert(0, _Watch(log, slow))
