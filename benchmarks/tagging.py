"""`headcanon tag` against onnxruntime in the plainest loop, on the same model, batch and pictures.

    python benchmarks/tagging.py                                        the demo's small tagger
    python benchmarks/tagging.py --model vit                            a larger one with random weights
    python benchmarks/tagging.py --model wd-v1-4-swinv2-tagger-v2/      a real one

Every pair does the same pictures in turn, and who begins changes. The plain loop opens a picture, resizes it, turns it
to BGR, and runs the session on every full batch: what any script has to do. The command does the same and finds out
what was read before, keeps the scores, one record a picture, and a table. Both load the model. Beside them stands the
session alone, on arrays that are ready. Pairs, because a shared machine is never equally fast twice: read ratios.

Exits with 1 when the command has less than 0.9 of the plain loop's throughput: by processor time, which neighbours
change least, or on a GPU by the clock.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from preprocess import draw
from vit_tagger import write_vit_tagger

from lora_core.dataset import Manifest
from lora_core.images.collect import collect
from lora_core.images.pipeline import preprocess
from lora_core.recipe import Preprocess
from lora_core.store import Store
from lora_core.tagging.tag import tag
from lora_core.tagging.wd14 import Tagger

LEAST_RATIO = 0.9
DEMO = Path(__file__).parents[1] / "demo/models/tagger"
VIT = "vit"


class Spent(NamedTuple):
    """Seconds on the clock, and seconds of all cores together."""

    wall: float
    processor: float


class Pictures(NamedTuple):
    """Square pictures in a store, and the same as files."""

    store: Store
    manifest: Manifest
    paths: tuple[Path, ...]


def timed(work: Callable[[], object]) -> Spent:
    began, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - began, time.process_time() - processor)


def bare_loop(model: Path, paths: Sequence[Path], side_px: int, batch: int) -> list[NDArray[np.float32]]:
    """Open, resize, BGR, run: the plainest script."""
    session = onnxruntime.InferenceSession(str(model))
    name = session.get_inputs()[0].name
    found = []
    for start in range(0, len(paths), batch):
        inputs = []
        for path in paths[start : start + batch]:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((side_px, side_px), Image.Resampling.BICUBIC)
            inputs.append(np.asarray(small, dtype=np.float32)[:, :, ::-1])
        found.append(session.run(None, {name: np.stack(inputs)})[0])
    return found


def session_alone(model: Path, pictures: int, side_px: int, batch: int) -> Spent:
    """The session on arrays that are ready: nothing is opened."""
    session = onnxruntime.InferenceSession(str(model))
    name = session.get_inputs()[0].name
    ready = np.random.default_rng(0).uniform(0, 255, (batch, side_px, side_px, 3)).astype(np.float32)
    counts = [min(batch, pictures - start) for start in range(0, pictures, batch)]
    return timed(lambda: [session.run(None, {name: ready[:count]}) for count in counts])


def run_command(pictures: Pictures, files: dict[str, Path]) -> Spent:
    """What `headcanon tag` does with pictures that it has not read before, without starting Python."""
    with tempfile.TemporaryDirectory(prefix="headcanon-bench-") as folder:
        fresh = Store(Path(folder))
        for path in pictures.paths:
            fresh.put_file(path)
        return timed(lambda: tag(fresh, pictures.manifest, files))


def made(folder: Path, number: int) -> Pictures:
    """So many square pictures, as `headcanon preprocess` makes them."""
    draw(folder / "screenshots", number)
    store = Store(folder / "store")
    manifest = preprocess(store, collect(store, folder / "screenshots"), Preprocess())
    return Pictures(store, manifest, tuple(store.path(entry.image) for entry in manifest.entries))


def measure(pictures: Pictures, files: dict[str, Path], pairs: int) -> float:
    """Print every pair and the medians; returns the share of the plain loop's throughput that counts."""
    tagger, count = Tagger.load(files), len(pictures.paths)
    side_px, batch, model = tagger.side_px, tagger.batch, files["model.onnx"]
    say(f"{count} pictures of {Preprocess().size} px, input {side_px} px, batch {batch}, {pairs} pairs")
    say("| pair | session alone | plain loop | headcanon | time: of loop | of session | CPU: of loop | of session |")
    say("|---" * 8 + "|")
    ratios = []
    for pair in range(pairs):
        alone = session_alone(model, count, side_px, batch)
        ways = {
            "bare": lambda: timed(lambda: bare_loop(model, pictures.paths, side_px, batch)),
            "ours": lambda: run_command(pictures, files),
        }
        spent = {way: ways[way]() for way in sorted(ways, reverse=pair % 2 == 1)}
        bare, ours = spent["bare"], spent["ours"]
        ratios.append(
            (
                bare.wall / ours.wall, alone.wall / ours.wall,
                bare.processor / ours.processor, alone.processor / ours.processor,
            )
        )  # fmt: skip
        shown = (f"{count / each.wall:.1f}/s, {each.processor / count * 1000:.0f} ms" for each in (alone, bare, ours))
        say(f"| {pair + 1} | {' | '.join(shown)} | {' | '.join(f'{ratio:.2f}' for ratio in ratios[-1])} |")
    medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
    say(f"| median | | | | {' | '.join(f'**{median:.2f}**' for median in medians)} |")
    return medians[0] if tagger.on_gpu else medians[2]


def same_answers(pictures: Pictures, files: dict[str, Path]) -> None:
    """The loop and the command must say the same, or their times are not comparable."""
    tagger = Tagger.load(files)
    some = pictures.paths[: tagger.batch]
    (plain,) = bare_loop(files["model.onnx"], some, tagger.side_px, tagger.batch)
    ours = tagger.probabilities([tagger.prepared(Image.open(io.BytesIO(path.read_bytes()))) for path in some])
    if not np.allclose(plain, ours, atol=1e-4):
        raise SystemExit(f"the loop and the command differ by up to {np.abs(plain - ours).max():.3g}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default=str(DEMO), help=f"a folder in WD14's format, or {VIT}")
    options.add_argument("--pictures", type=int, default=96)
    options.add_argument("--pairs", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="headcanon-bench-") as name:
        folder = Path(name)
        model = write_vit_tagger(folder / "tagger") if asked.model == VIT else Path(asked.model)
        files = {file: model / file for file in ("model.onnx", "selected_tags.csv")}
        pictures = made(folder, asked.pictures)
        same_answers(pictures, files)
        sys.exit(measure(pictures, files, asked.pairs) < LEAST_RATIO)


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
