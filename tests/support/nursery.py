"""`headcanon` forked from a process that has imported everything, for tests that look at what a command does.

A command of its own imports for seconds, which is longer than most of them work. What a command imports, and when, is
tested with real ones (`tests/flows/test_imports.py`).
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

_IMPORTED = (
    "flows.cost",
    "flows.ending",
    "flows.gate",
    "flows.cli.app",
    "flows.cli.compare",
    "flows.cli.lora",
    "flows.cli.pictures",
    "flows.cli.plan",
    "lora_core.diffusion.tokenizer",
    "lora_core.judging.similarity",
    "lora_core.lora.merge",
    "lora_core.report.publish",
    "lora_core.sampling.sampler",
    "lora_core.training.run",
)


class Nursery:
    """The process that others are forked from, with an environment that they share."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = _lasting(environment)
        self._process: subprocess.Popen[str] | None = None
        self._one_at_a_time = threading.Lock()

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str] | None:
        """The command's exit status and output; None: it needs another environment, or another one runs here."""
        if _lasting(environment) != self._environment or not self._one_at_a_time.acquire(blocking=False):
            return None
        try:
            with tempfile.TemporaryDirectory() as said:
                streams = [Path(said) / "stdout", Path(said) / "stderr"]
                status = self._asked([*arguments], str(folder), *map(str, streams))
                return subprocess.CompletedProcess([*arguments], status, *(each.read_text("utf-8") for each in streams))
        finally:
            self._one_at_a_time.release()

    def _asked(self, *what: object) -> int:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__], env=self._environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(what), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


def _lasting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}


_status = [0]


def _leave() -> None:
    """End without taking apart what was imported, which takes longer than most commands; the last thing at an exit."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(_status[-1])


def _serve() -> None:
    """Fork a command for each line on stdin, and answer with its exit status; a child returns, to be the command."""
    atexit.register(_leave)  # first, and so after all that a command does at its end
    sys.path.pop(0)  # this file's folder, which a command does not see
    import_module("flows.cli")  # first, for it settles what Prefect reads when it is imported
    for name in _IMPORTED:
        import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "a fork takes no thread along"  # noqa: PTH208
    gc.freeze()
    while line := sys.stdin.readline():
        arguments, folder, *streams = json.loads(line)
        if not (child := os.fork()):
            _status.append(_command(arguments, folder, streams))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def _command(arguments: list[str], folder: str, streams: list[str]) -> int:
    os.chdir(folder)
    for number, path in enumerate((os.devnull, *streams)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    sys.argv = ["-c", *arguments]
    try:
        import_module("flows.cli").main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
