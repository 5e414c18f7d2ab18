"""What differs on Windows, as far as it can be had here: nothing was tried on Windows itself."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from odd_inputs import encoded, figure

from flows import cli, private_server, process_signals, service
from lora_core.store import files
from lora_core.store.files import move, read_regular, replacing, sync, temporary_name, write_atomically

SUPPORT = Path(__file__).parents[1] / "support"

_IMPORT_ALL = """
import no_posix
import flows.child_processes, flows.private_server, flows.service
from tasks.stopping import SIGNALS, heeding_signals
print(*(one.name for one in SIGNALS))
with heeding_signals():
    pass
from flows.cli.up import _until_told_to_end
with _until_told_to_end() as ended:
    print(ended.is_set())
import sys
from pathlib import Path
from lora_core.store.files import read_regular, write_atomically
write_atomically(Path(sys.argv[1]) / "x", b"a\\r\\nb")
print(read_regular(Path(sys.argv[1]) / "x", 99))
from flows.child_processes import _PrivateHandler
_PrivateHandler(str(Path(sys.argv[1]) / "log"), maxBytes=9, backupCount=1).close()
"""


# Of modules that there are everywhere, what POSIX alone has; where it is used, it is asked for first.
_POSIX = re.compile(
    r"import (fcntl|pwd|grp|resource|termios)\b|"
    r"\bos\.(killpg|setsid|fork|fchmod|fchown|chown|getuid|geteuid|getpgid|mkfifo|nice|uname|O_NO\w+)\b|"
    r"\bsignal\.(SIGHUP|SIGKILL|SIGUSR\d|SIGALRM|alarm|pthread_\w+|SIG_BLOCK|SIG_SETMASK)\b|"
    r"""["']/(tmp|dev|proc)/"""
)
_ASKED_FOR = {
    "flows/process_signals.py": 'hasattr(os, "killpg")',
    "lora_core/training/group.py": 'hasattr(signal, "pth',
}


def test_nothing_of_posix_alone_is_used_without_being_asked_for():
    root = Path(__file__).parents[2]
    found = {}
    for package in ("lora_core", "tasks", "flows"):
        for path in (root / package).rglob("*.py"):
            code, name = path.read_text("utf-8"), path.relative_to(root).as_posix()
            if used := [match[0] for match in _POSIX.finditer(code)]:
                found[name] = used
            assert not re.search(r"\.(read_text|write_text)\(\s*\)", code), f"{name}: name the encoding"
    assert set(found) <= set(_ASKED_FOR), found
    assert all(asked in (root / name).read_text("utf-8") for name, asked in _ASKED_FOR.items())


def _run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(SUPPORT), str(Path(__file__).parents[2])))
    told = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=told,
        check=False,
    )


def test_what_starts_and_ends_processes_works_without_what_posix_alone_has(tmp_path):
    done = _run("-c", _IMPORT_ALL, str(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["SIGINT SIGTERM", "False", r"b'a\r\nb'"]


def test_a_command_ends_well_though_the_console_cannot_show_every_letter(tmp_path):
    shots = tmp_path / "shots"
    shots.mkdir()
    (shots / "顔 [v2] é😀.png").write_bytes(encoded(figure()))
    command = "from flows.cli import main; main()"
    done = _run(
        "-c", command, "preprocess", str(shots), str(tmp_path / "out"), "--store", str(tmp_path / "store"),
        "--size", "64", PYTHONIOENCODING="cp1252", PYTHONUTF8="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "1 picture in" in done.stdout


def test_processes_that_train_together_are_started_where_no_signal_can_be_held_back(monkeypatch):
    from lora_core.training.group import _signals_held_back

    monkeypatch.delattr(signal, "pthread_sigmask")
    with _signals_held_back():
        assert signal.getsignal(signal.SIGINT) is not None


def test_a_stream_that_cannot_show_a_letter_escapes_it(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="cp1252", write_through=True))
    cli.say_everything()
    sys.stdout.write("−2 → 葵")
    assert shown.getvalue() == b"\\u22122 \\u2192 \\u8475"


def test_a_file_that_is_read_for_a_moment_is_replaced_when_it_is_free(tmp_path, monkeypatch):
    refusals = [PermissionError(13, "being used by another process")] * 3
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if refusals:
            raise refusals.pop()
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(PermissionError):
        move(tmp_path / "a", tmp_path / "b")  # on POSIX it means what it says
    assert len(refusals) == 2
    monkeypatch.setattr(files, "_READERS_BLOCK", True)
    write_atomically(tmp_path / "b", b"new")
    assert (tmp_path / "b").read_bytes() == b"new"
    assert refusals == []


def test_a_file_that_stays_open_is_told_in_the_end_and_nothing_is_left(tmp_path, monkeypatch):
    def busy(self: Path, target: Path) -> Path:
        raise PermissionError(13, "being used by another process")

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(files, "_READERS_BLOCK", True)
    monkeypatch.setattr(files, "_READERS_SECONDS", 0.1)
    with pytest.raises(files.StoreError, match="cannot be written"):
        write_atomically(tmp_path / "b", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_opened_is_not_synced_and_a_file_is(tmp_path, monkeypatch):
    opened = os.open

    def like_windows(path, flags, *more):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", like_windows)
    sync(tmp_path)
    write_atomically(tmp_path / "x", b"1")
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "y").write_bytes(b"2")
    assert (tmp_path / "folder/y").read_bytes() == b"2"
    assert read_regular(tmp_path / "x", 9) == b"1"


def test_temporary_names_differ_though_the_clock_stands_still(tmp_path, monkeypatch):
    monkeypatch.setattr("time.monotonic_ns", lambda: 7)
    assert len({temporary_name(tmp_path / "x") for _ in range(1000)}) == 1000


def test_without_process_groups_processes_are_asked_by_their_standard_input_and_by_ctrl_break(monkeypatch):
    monkeypatch.delattr(os, "killpg")
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", signal.SIGUSR1, raising=False)
    waiting = [sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(7)"]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE) as asked:
        process_signals.ask_to_end(asked)
        assert asked.wait(30) == 7
    for end, status in ((process_signals.ask_group_to_end, -signal.SIGUSR1), (process_signals.kill_group, -9)):
        with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:
            end(process.pid)
            assert process.wait(30) == status
        end(process.pid)  # which is gone
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("groups", [True, False])
def test_a_process_asks_itself_by_a_signal_that_its_handler_hears(groups, monkeypatch):
    if not groups:
        monkeypatch.delattr(os, "killpg")
    heard = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: heard.set())
    try:
        process_signals.ask_self(signal.SIGTERM)
        assert heard.wait(10)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("hands_on", [True, False])
def test_a_private_server_listens_where_its_parent_says(hands_on, monkeypatch):
    import socket

    monkeypatch.setattr(private_server, "_HANDS_SOCKETS_ON", hands_on)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        with service._socket(private_server._handed_on(listening)) as there:
            assert there.getsockname()[1] == port
            if hands_on:
                listening.detach()
