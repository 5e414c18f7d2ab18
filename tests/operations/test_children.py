"""What `headcanon up` keeps running: what a killed child leaves behind, and what it must not leave."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.children import Child, ServiceError

_PARENT = """\
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""


def _child(log: Path, script: str, *, outlived: bool) -> Child:
    child = Child("server", (), {}, log, outlived=outlived)
    child._command = (sys.executable, "-c", script)
    return child


def _grandchildren(log: Path, number: int) -> list[psutil.Process]:
    while not log.exists() or len(log.read_text().splitlines()) < number:
        time.sleep(0.02)
    return [psutil.Process(int(line)) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("outlived", [False, True])
def test_what_a_killed_child_started_goes_with_it_unless_it_may_go_on(tmp_path: Path, outlived: bool) -> None:
    log = tmp_path / "log"
    child = _child(log, _PARENT, outlived=outlived)
    child.start()
    (first,) = _grandchildren(log, 1)
    try:
        first.parent().kill()  # type: ignore[union-attr]
        while child.running:
            time.sleep(0.02)
        assert child.keep()
        assert child.running
        assert bool(psutil.wait_procs([first], timeout=0.5 if outlived else 10)[1]) is outlived
    finally:
        child.end(10)
        if first.is_running():
            first.kill()


def test_a_child_that_ends_again_and_again_at_once_is_given_up_with_the_place_of_its_log(tmp_path: Path) -> None:
    child = _child(tmp_path / "log", "raise SystemExit(3)", outlived=False)
    child.start()
    with pytest.raises(ServiceError, match=r"the server ends right after its start.*log"):
        _keep_for_ever(child)


def _keep_for_ever(child: Child) -> None:
    while True:
        child.keep()
        time.sleep(0.02)
