"""Our training step beside a plain loop of diffusers and peft, on the same work in the same process.

Plain is what diffusers' own LoRA script does once its data is cached: peft's adapters on the same modules, texts read
by the text encoder at every step (it is trained), noise, prediction, mean squared error, clipping, AdamW. Ours is the
trainer's own step with everything that belongs to it: counters drawn, captions read, losses read back. Steps of both
are taken in turn, in pairs of rounds, and the medians are compared; both read the same frozen weights, which are there
once. Peak memory is measured afterwards, of each in a process of its own.

    python benchmarks/train.py                    the demo's tiny model, 128 px
    python benchmarks/train.py --shapes sd15      SD1.5's shapes with random weights, 128 px; needs 8 GB of memory
    python benchmarks/train.py --only memory      peak memory alone; likewise --only time
    python benchmarks/train.py --shapes sd15 --sd-scripts DIR --sd-scripts-python VENV/bin/python
                                                  and the same work with a checkout of kohya-ss/sd-scripts

Exits with 1 when ours is slower than 0.97 of plain, by the clock or, where neighbours keep the processor busy, by the
processor's time.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from measure import kohya
from measure.models import make, write
from measure.ways import Run, Work, ours, plain, sharing

from demo.project import MODELS
from lora_core.diffusion.components import Components, load_components
from lora_core.hub import find_model_files
from lora_core.recipe import Speed

LEAST_SHARE = 0.97
_LIMIT_SECONDS = 3600.0


@dataclass
class Seconds:
    """What the steps of one way took, a mean for each round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> int:
    """Print a table; returns the exit status."""
    asked = _arguments()
    try:
        if asked.sd_scripts:
            kohya.check(asked.sd_scripts, asked.sd_scripts_python)
        slow = asked.only != "memory" and not _timed(asked)
        if asked.sd_scripts:
            _other(asked)  # before other children: its peak is the largest child's
    except kohya.KohyaError as error:
        raise SystemExit(f"sd-scripts: {error}") from None
    if asked.only != "time":
        for name in MAKERS:
            print(f"{name}: peak {_alone(name, asked) / 1e9:.2f} GB")
    return int(slow)


def _other(asked: argparse.Namespace) -> None:
    """Print what sd-scripts does of the same work."""
    work = _work(asked)
    with tempfile.TemporaryDirectory(prefix="sd-scripts-") as name:
        base = write(_model(asked.shapes), Path(name) / "base")
        kohya.write_inputs(Path(name), work.batch, work.side_px)
        rate = kohya.samples_a_second(
            asked.sd_scripts.absolute(), Path(name), base, work, kohya.WARM_UP + asked.steps * asked.pairs,
            _LIMIT_SECONDS, python=asked.sd_scripts_python, cpu=True,
        )  # fmt: skip
    peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"sd-scripts: {1e3 * work.batch / rate:.1f} ms a step, {rate:.2f} pictures/s; peak {peak_bytes / 1e9:.2f} GB")


def _timed(asked: argparse.Namespace) -> bool:
    """Print the table of times; returns whether ours is fast enough."""
    base = _model(asked.shapes)
    runs = {name: made(sharing(base), _work(asked)) for name, made in MAKERS.items()}
    seconds = {name: Seconds() for name in runs}
    for run in runs.values():
        run(0, 1)
    for pair in range(asked.pairs):
        for name in sorted(runs, reverse=bool(pair % 2)):
            wall, processor = time.perf_counter(), time.process_time()
            runs[name](pair * asked.steps, asked.steps)
            seconds[name].wall.append((time.perf_counter() - wall) / asked.steps)
            seconds[name].processor.append((time.process_time() - processor) / asked.steps)
            print(f"{name}, round {pair + 1}: {seconds[name].wall[-1] * 1e3:.0f} ms", file=sys.stderr, flush=True)
    for name, each in seconds.items():
        wall, processor = statistics.median(each.wall), statistics.median(each.processor)
        rate = f"{asked.batch / wall:.2f} pictures/s"
        print(f"{name}: {wall * 1e3:.1f} ms a step, {rate}; {processor * 1e3:.1f} ms of the processor")
    shares = [_share(seconds, clock) for clock in ("wall", "processor")]
    return max(shares) >= LEAST_SHARE


def _share(seconds: dict[str, Seconds], clock: str) -> float:
    plain, ours = (getattr(seconds[name], clock) for name in ("plain", "ours"))
    ratios = sorted(one / other for one, other in zip(plain, ours, strict=True))
    middle = statistics.median(ratios)
    spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f} in {len(ratios)} pairs"
    print(f"ours has {middle:.3f} of plain's pictures/s by {clock} time ({spread})")
    return middle


def _work(asked: argparse.Namespace) -> Work:
    return Work("sd1", asked.resolution, asked.batch)


MAKERS: dict[str, Callable[[Components, Work], Run]] = {
    "ours": lambda model, work: ours(model, work, torch.float32, Speed()),
    "plain": lambda model, work: plain(model, work, torch.float32),
}


def _model(shapes: str) -> Components:
    return _demo() if shapes == "demo" else make("sd1", torch.device("cpu"), torch.float32, toy=False)


def _demo() -> Components:
    files = find_model_files(str(MODELS / "base"), "")
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32)


def _alone(name: str, asked: argparse.Namespace) -> int:
    """Peak resident memory of a process that does nothing else, in bytes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_measured, args=(name, asked, there))
    child.start()
    peak = int(here.recv())
    child.join()
    return peak


def _measured(name: str, asked: argparse.Namespace, answer: "multiprocessing.connection.Connection") -> None:
    MAKERS[name](_model(asked.shapes), _work(asked))(0, 2)
    answer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", choices=("demo", "sd15"), default="demo")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="of one way, before the other has its turn")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", choices=("time", "memory"), help="measure one of the two")
    parser.add_argument("--sd-scripts", type=Path, help="a checkout of kohya-ss/sd-scripts, timed as well")
    parser.add_argument("--sd-scripts-python", type=Path, default=Path(sys.executable), help="that has what it needs")
    asked = parser.parse_args()
    if asked.sd_scripts and asked.shapes != "sd15":
        parser.error("--sd-scripts needs --shapes sd15: it trains no other shapes of SD1")
    return asked


if __name__ == "__main__":
    sys.exit(main())
