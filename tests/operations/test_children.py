"""What `headcanon up` keeps running, and when it gives up."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.child_processes import Child, ServiceError


def _keep_for_ever(child: Child) -> None:
    while True:
        child.keep()
        time.sleep(0.02)


def test_a_child_that_ends_again_and_again_at_once_is_given_up_with_the_place_of_its_log(tmp_path: Path) -> None:
    child = Child("server", (), {}, tmp_path / "log")
    child._command = (sys.executable, "-c", "raise SystemExit(3)")
    child.start()
    with pytest.raises(ServiceError, match=r"the server ends right after its start.*log"):
        _keep_for_ever(child)


_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


def test_the_worker_s_own_command_reaches_prefect_s_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.service", "worker", "start", "--help"]
    where = {**os.environ, "PREFECT_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=where) as child:
        assert child.stdout is not None
        assert "--pool" in child.stdout.read()
    assert child.returncode == 0


def test_a_child_that_does_not_end_is_killed_with_what_it_started_in_a_group_of_its_own(tmp_path: Path) -> None:
    child = Child("worker", (), {}, tmp_path / "log")
    child._command = (sys.executable, "-c", _STUBBORN)
    child.start()
    while not child.log.exists() or "started" not in child.log.read_text():
        assert child.running
        time.sleep(0.02)
    (started,) = (psutil.Process(int(number)) for number in child.processes())
    child.end(patience_seconds=0.1)
    assert not child.running
    _, alive = psutil.wait_procs([started], timeout=30)
    assert not alive
