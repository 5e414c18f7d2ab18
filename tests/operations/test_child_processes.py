"""What `headcanon up` keeps running and when it gives up; its logs are bounded, private, and in nobody's way."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from small_disk import SmallDisk

from flows import child_processes
from flows.child_processes import Child, LogFile, ServiceError
from flows.cli import keep_private


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


_ERROR = b"10:00:00.000 | ERROR   | prefect.server.services.scheduler - it broke\n"


def _followed(file: LogFile, data: bytes) -> LogFile:
    """The file when all of the data has been read from a real pipe."""
    before = set(threading.enumerate())
    reading, writing = os.pipe()
    file.follow(os.fdopen(reading, "rb"))
    (copying,) = set(threading.enumerate()) - before
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(data)
    copying.join(60)
    return file


def test_what_a_child_says_is_in_the_file_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "server.log"
    path.parent.mkdir(mode=0o755)
    path.write_text("before\n")
    path.chmod(0o644)
    _followed(LogFile(path), "hé\n".encode() + b"\xff\n")
    assert path.read_text() == "before\nhé\n�\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_logs_are_bounded_however_much_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_processes, "LARGEST_BYTES", 10_000)
    path = tmp_path / "worker.log"
    path.write_bytes(b"x" * 50_000)  # of a time without bounds
    _followed(LogFile(path), b"".join(b"%d a line that is said\n" % number for number in range(5000)) + b"y" * 9000)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["worker.log", "worker.log.1"]
    assert all(file.stat().st_size <= 20_000 for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)


def test_the_first_error_is_told_once_and_those_of_runs_are_not(tmp_path: Path) -> None:
    of_run = b"10:00:00.000 | ERROR   | Flow run 'momo' - Finished in state Failed()\n"
    warning = b"10:00:00.000 | WARNING | prefect - be careful\n"
    file = _followed(LogFile(tmp_path / "log"), of_run + warning)
    assert file.take_error() == ""
    _followed(file, _ERROR + _ERROR.replace(b"broke", b"broke again"))
    assert file.take_error() == "prefect.server.services.scheduler - it broke"
    assert file.take_error() == ""
    _followed(file, _ERROR)
    assert file.take_error() == ""


def test_a_full_disk_does_not_stop_who_writes(small_disk: SmallDisk) -> None:
    file = LogFile(small_disk(64) / "server.log")
    reading, writing = os.pipe()
    file.follow(os.fdopen(reading, "rb"))
    with os.fdopen(writing, "wb") as pipe:
        for _ in range(200):
            pipe.write(b"z" * 8000 + b"\n")
        pipe.write(_ERROR)
    for _ in range(500):
        if error := file.take_error():
            break
        time.sleep(0.02)
    assert "it broke" in error


def test_a_pipe_that_ends_at_once_leaves_nothing(tmp_path: Path) -> None:
    LogFile(tmp_path / "log").follow(io.BytesIO())
    assert not (tmp_path / "log").exists()


def test_prefects_folder_and_database_become_their_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / ".prefect"
    home.mkdir(mode=0o755)
    for name in ("prefect.db", "prefect.db-wal", "prefect.db-shm"):
        (home / name).write_bytes(b"")
        (home / name).chmod(0o644)
    keep_private(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in home.iterdir()} == {0o600}
    keep_private(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
