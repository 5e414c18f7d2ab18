"""Jobs that end in every way a job can end, for `benchmarks/measure/runner.py`, whose processes find them by name."""

import os
import signal
import subprocess
import sys
import time
from typing import Any


def good(settings: Any, emit: Any, *numbers: int) -> None:
    for number in numbers:
        emit({"number": number})


def out_of_memory(settings: Any, emit: Any) -> None:
    import torch

    emit({"number": 0})
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more")


def crashing(settings: Any, emit: Any) -> None:
    emit({"number": 0})
    os.kill(os.getpid(), signal.SIGSEGV)


def hanging(settings: Any, emit: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    emit({"number": child.pid})
    time.sleep(600)
