"""A training in the background imports nothing: all of it was imported in the main thread before."""

import os
import subprocess
import sys
from pathlib import Path

import late_imports

from demo.project import MODELS

_TRAIN = """
import sys, threading
from pathlib import Path
import late_imports
late_imports.watch(Path("late.txt"))

from lora_core.dataset import Entry, Manifest
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store

base, picture, store = Path(sys.argv[1]), Path(sys.argv[2]), Store(Path("store"))
files = {str(path.relative_to(base)): path for path in base.rglob("*") if path.is_file()}
ref = CheckpointRef(sha256=store.put_tree(files))
entry = Entry(name="a", source="a.png", image=store.put_file(picture), width=64, height=64, caption=("momo", "1girl"))

def train_one(options):
    from lora_core.progress import silent
    from lora_core.training.run import train
    from lora_core.training.samples import TrainingSet
    sets = (TrainingSet(Manifest(entries=(entry,)), 1, False, "", 64),)
    train(store, ref, sets, options, name="momo", clip_skip=1, device="cpu", trigger="momo", progress=silent,
          key=options.optimizer * 8, curves=Path(options.optimizer))
    done.append(options.optimizer)

done = []
for optimizer in ("adamw", "lion", "prodigy", "adafactor"):
    rates = {"unet_lr": 1, "text_encoder_lr": 1}
    options = Training(resolution=64, epochs=1, rank=2, alpha=1, batch=1, optimizer=optimizer, **rates)
    if sys.argv[3] == "ahead":
        from lora_core.training.ahead import import_all
        import_all(options)
    thread = threading.Thread(target=train_one, args=(options,))
    thread.start()
    thread.join()
print(*done)
"""


def trained_in_the_background(folder: Path, picture: Path, how: str) -> tuple[str, str]:
    """What was trained, and what was imported late."""
    where = {**os.environ, "PYTHONPATH": str(Path(late_imports.__file__).parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TRAIN, MODELS / "base", picture, how]
    done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), (folder / "late.txt").read_text()


def test_a_training_in_the_background_finds_everything_imported_whatever_its_optimizer(
    tmp_path: Path, small_picture: Path
) -> None:
    trained, late = trained_in_the_background(tmp_path, small_picture, "ahead")
    assert trained == "adamw lion prodigy adafactor"
    assert late == ""


def test_without_that_it_would_import_and_the_watch_would_see_it(tmp_path: Path, small_picture: Path) -> None:
    _, late = trained_in_the_background(tmp_path, small_picture, "late")
    assert "transformers in Thread" in late
