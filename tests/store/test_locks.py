"""One worker at a time: who comes second waits, and nobody waits for the dead."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from demo.world import TARGET, screenshots
from lora_core.store.locks import alone

_HOLD = """\
import sys, time
from pathlib import Path
from lora_core.store.locks import alone
with alone(Path(sys.argv[1]), lambda seconds: None):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(lock: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_that_nobody_holds_is_had_at_once(tmp_path: Path) -> None:
    with alone(tmp_path / "locks" / "a.lock", lambda seconds: pytest.fail("it waited")) as waited:
        assert not waited


def test_who_comes_second_waits_and_is_told_so(tmp_path: Path) -> None:
    order: list[str] = []
    first_in, other_waits = threading.Event(), threading.Event()

    def first() -> None:
        with alone(tmp_path / "lock", lambda seconds: None):
            first_in.set()
            other_waits.wait(60)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(60)

    def told(seconds: float) -> None:
        order.append("told")
        other_waits.set()

    with alone(tmp_path / "lock", told) as waited:
        order.append("second")
    thread.join()
    assert waited
    assert [word for word in order if word != "told"] == ["first", "second"]
    assert order[0] == "told"


def test_a_holder_that_is_killed_is_not_waited_for(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "lock")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with alone(tmp_path / "lock", lambda seconds: pytest.fail("it waited for the dead")) as waited:
        assert not waited


def test_one_who_waits_can_give_up(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "lock")

    def give_up(seconds: float) -> None:
        raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt), alone(tmp_path / "lock", give_up):
            pytest.fail("it ran beside another")
    finally:
        holder.kill()
        holder.wait()


_COUNT = """\
import sys
from pathlib import Path
from lora_core.store.locks import alone
number = Path(sys.argv[2])
for _ in range(20):
    with alone(Path(sys.argv[1]), lambda seconds: None):
        number.write_text(str(int(number.read_text()) + 1))
"""


def test_processes_under_one_lock_never_lose_each_other_s_work(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", _COUNT, str(tmp_path / "lock"), str(number)]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert number.read_text() == "60"


def test_an_error_in_the_block_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), alone(tmp_path / "lock", lambda seconds: None):
        raise ValueError("inside")
    with alone(tmp_path / "lock", lambda seconds: pytest.fail("it waited")):
        pass


NO_FLOCK = [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS]


def _without_flock(number: int) -> dict[str, str]:
    return {**os.environ, "NO_FLOCK": str(number), "PYTHONPATH": str(Path(__file__).parents[1] / "support")}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    screenshots(TARGET, folder / "all", seed=3)
    for name in ("portrait_002.png", "upper_body_003.png"):
        (folder / "all" / name).rename(folder / name)
    shutil.rmtree(folder / "all")
    return folder


@pytest.mark.parametrize("number", NO_FLOCK, ids=errno.errorcode.get)
def test_the_real_command_works_on_a_file_system_without_locks_and_says_so_once(
    tmp_path: Path, drawn: Path, number: int
) -> None:
    code = "import no_flock; from flows.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "preprocess", str(drawn), "pictures", "--size", "64"],
        cwd=tmp_path,
        env=_without_flock(number),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 2
    assert " ".join(done.stderr.split()).count("this file system keeps no locks") == 1, done.stderr
    assert not list(tmp_path.rglob("*.lease"))


@pytest.mark.parametrize("number", NO_FLOCK, ids=errno.errorcode.get)
def test_processes_under_one_lock_lose_no_work_without_flock_either(tmp_path: Path, number: int) -> None:
    count = tmp_path / "number"
    count.write_text("0")
    command = [sys.executable, "-c", f"import no_flock\n{_COUNT}", str(tmp_path / "lock"), str(count)]
    workers = [subprocess.Popen(command, env=_without_flock(number)) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert count.read_text() == "60"


def test_a_holder_without_flock_that_is_killed_is_not_waited_for_on_its_own_machine(tmp_path: Path) -> None:
    environment = _without_flock(errno.ENOLCK)
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import no_flock\n{_HOLD}", str(tmp_path / "lock")],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.wait()
    second = f"import no_flock\n{_HOLD.replace('time.sleep(60)', '')}"
    taken = subprocess.run(
        [sys.executable, "-c", second, str(tmp_path / "lock")], env=environment, capture_output=True, timeout=300
    )
    assert taken.stdout == b"held\n"


def test_other_troubles_with_a_lock_are_not_taken_for_a_file_system_without(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"import no_flock\n{_HOLD}", str(tmp_path / "lock")]
    failed = subprocess.run(command, env=_without_flock(errno.EIO), capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "Input/output error" in failed.stderr
