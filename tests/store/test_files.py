"""What a killed process had begun to write, and who removes it."""

import os
import subprocess
import sys
from pathlib import Path

from lora_core.store.files import leftovers, remove_leftovers, replacing, temporary_name

_KILLED = """
import os, signal, sys
from pathlib import Path
from lora_core.store.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    below = tmp_path / "deep" / "file.txt"
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(below)], check=False)
    assert killed.returncode == -9
    with replacing(tmp_path / "other.txt") as temporary:
        temporary.write_text("whole")
        assert len(list(leftovers(tmp_path))) == 1
        remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other.txt"]


def test_another_machines_files_are_left_alone_until_they_are_a_day_old(tmp_path: Path) -> None:
    here = temporary_name(tmp_path / "file.txt")
    parts = here.name.split(".")
    elsewhere = tmp_path / ".".join((*parts[:-4], "another-machine", *parts[-3:]))
    elsewhere.write_text("half")
    assert list(leftovers(tmp_path)) == []
    os.utime(elsewhere, (1.0, 1.0))
    assert list(leftovers(tmp_path)) == [elsewhere]
