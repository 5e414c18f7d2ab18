"""`headcanon store verify` and `gc`, as a user calls them."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import DAMAGE
from PIL import Image

from lora_core.refs import CheckpointRef
from lora_core.store import Store, files
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.gc import garbage

STEP, PICTURE, BASE = (digest_of(name) for name in (b"step", b"picture", b"base"))
DAY_SECONDS = 86400


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADCANON_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With a step's record, a picture's, a base model of the user's, and what they name."""
    store = Store(tmp_path / "store")
    (tmp_path / "base.safetensors").write_bytes(b"weights")
    files = {name: tmp_path / name for name in ("base.safetensors",)}
    ref = CheckpointRef(sha256=store.put_tree(files, how="refer"))
    store.set_record(STEP, {"ref": ref.model_dump(mode="json"), "seconds": 1.5})
    store.set_record(PICTURE, {"image": store.put_bytes(b"png"), "score": 0.125})
    return store


def headcanon(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from flows.cli import main; main()", "store", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _age(path: Path, days: float) -> None:
    then = time.time() - days * DAY_SECONDS
    os.utime(path, (then, then))


def _age_all(store: Store, days: float) -> None:
    for path in store.root.rglob("*"):
        _age(path, days)


def _record(store: Store, key: str) -> Path:
    return store.root / "records" / key[:2] / f"{key}.json"


def _pointer(store: Store) -> Path:
    return next((store.root / "elsewhere").glob("*/*.json"))


# ── verify ──


def test_verify_finds_every_kind_of_damage_a_line_each_and_repair_leaves_a_sound_store(
    store: Store, tmp_path: Path
) -> None:
    for number, damage in enumerate(DAMAGE.values()):
        store.set_record(digest_of(bytes([number])), {"score": 0.125})
        damage(_record(store, digest_of(bytes([number]))))
    wrong = {
        store.path(store.put_bytes(b"abc")): lambda path: path.write_bytes(b"abd"),
        store.path(store.put_bytes(b"cut off")): lambda path: path.write_bytes(b""),
        store.root / "objects" / "ab" / "stray": lambda path: path.write_bytes(b"x"),
        store.root / "objects" / "stray": lambda path: path.write_bytes(b"x"),
        store.root / "objects" / "ab" / ("ab" * 32): os.mkfifo,
        store.root / "objects" / "ac" / ("ac" * 32): Path.mkdir,
        store.root / "records" / "ab" / "stray.json": lambda path: path.write_bytes(b"{}"),
        store.root / "results" / STEP: lambda path: path.write_bytes(b"\x80\x04}."),
        _pointer(store): lambda path: path.write_bytes(b"\xff"),
    }
    for path, make in wrong.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    # The step's record names the tree that names the base, whose pointer is damaged: found once that is gone.
    found = headcanon(tmp_path, "verify", "--store", "store")
    assert found.returncode == 1, found.stderr
    *lines, total = found.stdout.splitlines()
    assert len(lines) == len(DAMAGE) + len(wrong) + 1
    assert total == f"{len(lines)} problems"
    assert all(any(line.startswith(f"{path}: ") for line in lines) for path in wrong)
    assert f"names checkpoint {store.record(STEP, dict)['ref']['sha256'][:12]}…" in found.stdout  # type: ignore[index]
    repaired = headcanon(tmp_path, "verify", "--store", "store", "--repair")
    assert repaired.returncode == 0, repaired.stderr
    assert repaired.stdout.count("; removed") == len(lines)
    clean = headcanon(tmp_path, "verify", "--store", "store")
    assert (clean.returncode, clean.stdout) == (0, "Everything is as it should be.\n")
    assert store.record(PICTURE, dict[str, object]) is not None  # what was sound is still there
    assert (tmp_path / "base.safetensors").read_bytes() == b"weights"


def test_verify_of_a_folder_that_is_no_store_is_one_line(tmp_path: Path) -> None:
    refused = headcanon(tmp_path, "verify", "--store", "nowhere")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "there is no store here" in refused.stderr


# ── gc ──


def test_work_that_was_used_lately_is_kept_however_long_ago_it_was_made(store: Store, tmp_path: Path) -> None:
    image = digest_of(b"png")
    _age_all(store, days=40)
    assert store.record(PICTURE, dict[str, object]) is not None  # that is use
    done = headcanon(tmp_path, "gc", "--store", "store", "--yes")
    assert done.returncode == 0, done.stderr
    assert store.get_bytes(image) == b"png"
    assert store.record(PICTURE, dict[str, object]) is not None
    assert store.record(STEP, dict[str, object]) is None  # was not read for 40 days
    assert not (store.root / "elsewhere").exists() or not list((store.root / "elsewhere").glob("*/*"))
    assert (tmp_path / "base.safetensors").exists()


def test_without_yes_the_list_is_printed_and_nothing_is_deleted(store: Store, tmp_path: Path) -> None:
    _age_all(store, days=40)
    before = sorted(store.root.rglob("*"))
    listed = headcanon(tmp_path, "gc", "--store", "store")
    assert listed.returncode == 0, listed.stderr
    assert "records of work that was not used: 3 files" in listed.stdout
    assert "what only they need: 3 files" in listed.stdout
    assert "can be deleted; --yes does it" in listed.stdout
    assert [path for path in sorted(store.root.rglob("*")) if "locks" not in path.parts] == [
        path for path in before if "locks" not in path.parts
    ]


_USER = """\
import sys, time
from pathlib import Path
from lora_core.store import Store
store = Store(Path(sys.argv[1]))
store.hold()
with store.alone(sys.argv[2], print):
    print("in use", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def user(store: Store) -> Iterator["subprocess.Popen[str]"]:
    """A process that uses the store and works on a step."""
    process = subprocess.Popen([sys.executable, "-c", _USER, str(store.root), STEP], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in use\n"
    yield process
    process.kill()
    process.wait()


def test_while_a_process_uses_the_store_nothing_is_deleted_and_one_line_says_which(
    store: Store, tmp_path: Path, user: "subprocess.Popen[str]"
) -> None:
    _age_all(store, days=40)
    before = sorted(store.root.rglob("*"))
    refused = headcanon(tmp_path, "gc", "--store", "store", "--days", "0", "--yes")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"in use by process {user.pid} on " in refused.stderr
    assert set(before) <= set(store.root.rglob("*"))
    listed = headcanon(tmp_path, "gc", "--store", "store", "--days", "0")
    assert listed.returncode == 0
    assert "locks that nobody holds" not in listed.stdout


def test_a_user_is_known_where_the_file_system_keeps_no_locks_too(store: Store, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "NO_FLOCK": str(errno.ENOLCK),
        "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
    }

    def start(code: str, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", f"import no_flock\n{code}", *arguments]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def gc() -> tuple[int, str]:
        process = start("from flows.cli import main; main()", "store", "gc", "--store", "store", "--yes")
        told = process.communicate()[1]
        return process.returncode, told

    user = start(_USER, str(store.root), STEP)
    assert user.stdout is not None
    assert user.stdout.readline() == "in use\n"
    status, told = gc()
    assert (status, f"in use by process {user.pid} on " in told) == (2, True)
    user.kill()
    user.communicate()
    status, told = gc()
    assert status == 0, told


def test_a_lock_file_of_a_dead_process_with_our_own_number_is_not_taken_for_ours(store: Store) -> None:
    """As in a container that was started again."""
    code = "import os, pathlib, lora_core.store.locks as u\n"
    code += f"p = pathlib.Path({str(store.root / 'locks' / 'users')!r})\n"
    code += "p.mkdir(parents=True)\nown = p / f'{u._host()}.{os.getpid()}.lock'\nown.touch()\n"
    code += "assert u.enter(p.parent) == frozenset() and own.exists() and u.is_held(own)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_who_comes_while_things_are_deleted_waits(store: Store) -> None:
    with store.unused():
        process = subprocess.Popen(
            [sys.executable, "-c", _USER, str(store.root), STEP], stdout=subprocess.PIPE, text=True
        )
        time.sleep(2)
        assert process.poll() is None
        assert not list((store.root / "locks" / "users").glob("*"))
    assert process.stdout is not None
    assert process.stdout.readline() == "in use\n"
    process.kill()
    process.wait()


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_a_live_one_writes_is_not(
    store: Store, user: "subprocess.Popen[str]"
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", _USER, str(store.root), PICTURE], stdout=subprocess.PIPE, text=True)
    assert dead.stdout is not None
    assert dead.stdout.readline() == "in use\n"

    def left(process: int) -> list[Path]:
        return [
            store.root / "objects" / f".incoming-140.{files._HOST}.{process}.99.tmp",
            store.root / "objects" / f"..incoming-140.{files._HOST}.{process}.99.tmp.{files._HOST}.{process}.98.tmp",
            store.root / "records" / "ab" / f".x.json.{files._HOST}.{process}.98.tmp",
            store.root / "work" / "key" / f".state.safetensors.{files._HOST}.{process}.98.tmp",
        ]

    for path in (*left(dead.pid), *left(user.pid)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    folder = store.root / "work" / f".merged.{files._HOST}.{dead.pid}.98.tmp"
    (folder / "inside").mkdir(parents=True)
    dead.kill()
    dead.wait()
    again = subprocess.run(
        [sys.executable, "-c", _USER.split("with")[0], str(store.root)], check=True, capture_output=True
    )
    assert again.returncode == 0
    assert not [path for path in (*left(dead.pid), folder) if path.exists()]
    assert all(path.exists() for path in left(user.pid))


def test_gc_collects_states_curves_locks_kernels_and_half_written_files_that_nobody_needs(
    store: Store, tmp_path: Path, cache: Path
) -> None:
    old, young = digest_of(b"old"), digest_of(b"young")
    half = f".momo.safetensors.{files._HOST}.4194305.98.tmp"  # of a process that no machine can have
    names = [f"work/{old}/state", f"work/{young}/state", f"work/{STEP}/state", f"curves/momo-{old[:8]}/curves.csv",
             f"curves/momo-{STEP[:8]}/curves.csv", f"locks/{old}.lock", "compiled/kernels/x.so"]  # fmt: skip
    for name in names:
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_bytes(b"x")
    (tmp_path / "out/momo").mkdir(parents=True)
    (tmp_path / f"out/momo/{half}").write_bytes(b"half")
    (tmp_path / "out/momo/momo.safetensors").write_bytes(b"whole")
    (cache / "compiled").mkdir(parents=True)
    (cache / "compiled/costs.json").write_text("{}")
    _age(cache / "compiled/costs.json", 40)
    _age_all(store, 40)
    for name in (f"work/{young}/state", f"work/{STEP}/state"):
        _age(store.root / name, 0)
    store.record(STEP, dict[str, object])
    found = {
        str(path.relative_to(tmp_path))
        for path in garbage(store, unused_days=30, out=tmp_path / "out").paths
        if "objects" not in path.parts and "records" not in path.parts
    }
    assert found == {
        f"store/work/{old}", f"store/work/{STEP}", f"store/curves/momo-{old[:8]}", f"store/locks/{old}.lock",
        "store/compiled", "cache/compiled", f"out/momo/{half}",
    }  # fmt: skip


def test_a_gc_that_is_killed_half_way_leaves_a_sound_store(store: Store) -> None:
    store.set_record(digest_of(b"x"), {"ref": {"kind": "lora", "sha256": store.put_json({"x": 1})}, "seconds": 1})
    _age_all(store, days=40)
    paths = garbage(store, unused_days=30).paths
    for path in paths[: len(paths) // 2]:
        path.unlink()
    from lora_core.store.gc import verify

    assert list(verify(store)) == []


def test_everything_that_a_long_manifest_names_is_kept(store: Store) -> None:
    """A list of more than 64 MB, as of a hundred thousand tagged pictures."""
    image = store.put_bytes(b"last")
    manifest = store.put_bytes(canonical_json({"notes": "x" * (65 << 20), "z": image}))
    _age_all(store, days=40)
    store.set_record(digest_of(b"x"), {"image": manifest})
    assert store.where(image) not in garbage(store, unused_days=30).paths


@pytest.mark.parametrize("read_only", [True, False])
def test_use_is_told_where_it_can_be_written(store: Store, read_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError

    _age(_record(store, PICTURE), 40)
    if read_only:
        monkeypatch.setattr(os, "utime", refuse)
    assert json.loads(json.dumps(store.record(PICTURE, dict[str, object])))["score"] == pytest.approx(0.125)
    assert (time.time() - _record(store, PICTURE).stat().st_mtime > DAY_SECONDS) is read_only


def test_a_run_is_known_from_its_first_look_at_the_store(tmp_path: Path) -> None:
    """What `find_base` and `find_screenshots` put there is named by no record yet."""
    code = (
        "import flows.cli, sys, pathlib\nfrom tasks.find import find_screenshots\n"
        "from tasks.runtime import RunContext\n"
        "find_screenshots((sys.argv[1],), RunContext(store='store'))\n"
        "assert len(list(pathlib.Path('store/locks/users').iterdir())) == 1"
    )
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / "portrait_1.png")
    subprocess.run([sys.executable, "-c", code, str(pictures)], cwd=tmp_path, check=True)
    assert list((tmp_path / "store" / "locks" / "users").iterdir()) == []  # it ended
