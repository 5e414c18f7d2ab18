"""How fast a GPU trains: ours, a plain loop of diffusers and peft, sd-scripts, side by side in one run.

    python benchmarks/gpu.py --out gpu.json                         about ten minutes
    python benchmarks/gpu.py --out gpu.json --sd-scripts DIR        with a checkout of sd-scripts and what it needs
    python benchmarks/gpu.py --toy                                  tiny shapes, on the CPU too: does it run?

Needs torch, diffusers, transformers, peft, safetensors, pydantic and pillow; no Prefect, no network, no weights: models
have the real shapes and random numbers. The most valuable rows come first; every row is printed and saved as soon as it
is measured, and none is begun that the minutes left do not hold. Every way trains U-Net and text encoders with a LoRA
of rank 32. Samples are pictures through the models and back. Shares are of this machine's own bf16 matrix product.
"""

import argparse
import dataclasses
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import diffusers  # noqa: E402
import kohya  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gpu_recipe import Size, whole_recipe  # noqa: E402
from random_models import make, write  # noqa: E402
from ways import Run, Work, flops, matrix_peak, ours, plain, wait  # noqa: E402

from lora_core.device import pick_device, pick_dtype, set_kernels  # noqa: E402
from lora_core.recipe import Sampling, Speed  # noqa: E402

GRAPHS, COMPILED = "ours", "ours, compiled"
EAGER, PLAIN, KOHYA, RECIPE = "ours, eager", "diffusers + peft", "sd-scripts", "whole recipe"
SPEEDS = {
    GRAPHS: Speed(cuda_graphs="auto"),
    COMPILED: Speed(compile="on", cuda_graphs="auto"),
    EAGER: Speed(),
}
WARM_UP = 6
"""Steps before the clock starts: three as they are, one recorded, two replayed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; a way that failed says why."""

    way: str
    work: str
    batch: int
    samples_per_second: float = 0.0
    share_of_peak: float = 0.0
    memory_gb: float = 0.0
    compile_seconds: float = 0.0
    error: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)


class Bench:
    """Measures rows while there is time."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self._asked, self._folder = asked, folder
        self._until = time.monotonic() + asked.minutes * 60
        self._device = pick_device("cpu" if asked.toy and not torch.cuda.is_available() else asked.device)
        self._dtype = pick_dtype("auto", self._device)
        self._flops: dict[tuple[str, int], float] = {}
        self.rows: list[Row] = []
        set_kernels(self._device, deterministic=False)
        self.peak = matrix_peak(self._device, self._dtype, *((256, 0.1) if asked.toy else (8192, 3.0)))

    def metadata(self) -> dict[str, object]:
        """What the rows were measured on."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"
        versions = {each.__name__: each.__version__ for each in (torch, diffusers, transformers, peft)}
        return {
            "date": time.strftime("%Y-%m-%d"), "device": name, "dtype": str(self._dtype), **versions,
            "cuda": str(torch.version.cuda), "matrix_peak_flops": self.peak, "toy": self._asked.toy,
        }  # fmt: skip

    def measure(self, way: str, work: Work) -> None:
        """One row, printed and saved; what goes wrong is its error."""
        left = self._until - time.monotonic()
        if left < self._needs(way):
            return self._add(_row(way, work, error="no time left"))
        try:
            self._add(self._kohya(work, left) if way == KOHYA else self._own(way, work))
        except Exception as error:  # one way that fails must not cost the others their rows
            text = str(error) or type(error).__name__
            self._add(_row(way, work, error=text.splitlines()[0][:300]))
        finally:
            self._clear()

    def recipe(self, batch: int) -> None:
        """The whole recipe, if what was measured says that there is time for it."""
        work, size = Work("sd1", 512, batch), Size(batch=batch)
        if self._asked.toy:
            work = Work("sd1", 64, batch)
            sampling = Sampling(width=64, height=64, steps=2, prompts=("a",), seeds=(1,), weights=(1.0,))
            size = Size(2, 1, 64, 64, batch, sampling)
        known = [row.samples_per_second for row in self.rows if (row.way, row.batch) == (GRAPHS, batch)]
        left = self._until - time.monotonic()
        if not known or not max(known) or (not self._asked.toy and 12_920 / max(known) + 90 > left):
            return self._add(_row(RECIPE, work, error="no time left"))
        try:
            base, folder = self._written(work), self._folder / f"recipe-{batch}"
            seconds = whole_recipe(base, folder, size, self._device.type, Speed(compile="auto", cuda_graphs="auto"))
            self._add(_row(RECIPE, work, memory_gb=self._memory(), seconds=seconds))
        except Exception as error:
            self._add(_row(RECIPE, work, error=(str(error) or type(error).__name__).splitlines()[0][:300]))
        finally:
            self._clear()

    def _own(self, way: str, work: Work) -> Row:
        cache = self._folder / "compiled"
        model = make(work.architecture, self._device, self._dtype, toy=self._asked.toy)
        run = plain(model, work, self._dtype) if way == PLAIN else ours(model, work, self._dtype, SPEEDS[way], cache)
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        first = self._seconds(run, 0, 1)
        self._seconds(run, 1, WARM_UP)
        each = self._seconds(run, 1 + WARM_UP, 2) / 2
        steps = 2 if self._asked.toy else max(8, min(400, round(self._asked.seconds / each)))
        rate = work.batch * steps / self._seconds(run, 3 + WARM_UP, steps)
        memory = self._memory()
        del run, model
        self._clear()
        share = rate * self._flops_of(work) / self.peak
        compiled = first if way == COMPILED else 0.0
        return _row(way, work, samples_per_second=rate, share_of_peak=share, memory_gb=memory, compile_seconds=compiled)

    def _kohya(self, work: Work, left: float) -> Row:
        steps = 3 if self._asked.toy else max(30, 120 // work.batch)
        base = self._written(work)
        if not (self._folder / f"pictures-{work.side_px}").exists():
            kohya.write_inputs(self._folder, max(8, work.batch), work.side_px)
        rate = kohya.samples_a_second(
            Path(self._asked.sd_scripts).absolute(), self._folder, base, work, steps, min(left, 150)
        )
        share = rate * self._flops_of(work) / self.peak
        return _row(KOHYA, work, samples_per_second=rate, share_of_peak=share)

    def _flops_of(self, work: Work) -> float:
        key = (work.architecture, work.side_px)
        if key not in self._flops:
            self._flops[key] = flops(
                make(work.architecture, self._device, self._dtype, toy=self._asked.toy), work, self._dtype
            )
            self._clear()
        return self._flops[key]

    def _seconds(self, run: Run, first: int, steps: int) -> float:
        wait(self._device)
        begun = time.perf_counter()
        run(first, steps)
        wait(self._device)
        return time.perf_counter() - begun

    def _needs(self, way: str) -> float:
        """Seconds that a row takes at most, roughly: one that is compiled is waited for."""
        return 0.0 if self._asked.toy else {COMPILED: 150.0, KOHYA: 90.0}.get(way, 30.0)

    def _written(self, work: Work) -> Path:
        folder = self._folder / work.architecture
        if not folder.exists():
            write(make(work.architecture, self._device, self._dtype, toy=self._asked.toy), folder)
        return folder

    def _memory(self) -> float:
        return torch.cuda.max_memory_reserved(self._device) / 1e9 if self._device.type == "cuda" else 0.0

    def _clear(self) -> None:
        torch._dynamo.reset()
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        print(_line(row), flush=True)
        if self._asked.out:
            table = {"metadata": self.metadata(), "rows": [dataclasses.asdict(each) for each in self.rows]}
            Path(self._asked.out).write_text(json.dumps(table, indent=1) + "\n")


def _row(way: str, work: Work, **found: object) -> Row:
    fields = {"way": way, "work": f"{work.architecture} {work.side_px}", "batch": work.batch, **found}
    return Row(**fields)  # type: ignore[arg-type]


def _line(row: Row) -> str:
    begun = f"| {row.way} | {row.work} | {row.batch} |"
    if row.error:
        return f"{begun} {row.error} | | | |"
    if row.seconds:
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row.seconds.items())
        return f"{begun} {told} | | {row.memory_gb:.1f} GB | |"
    compiled = f"{row.compile_seconds:.0f} s" if row.compile_seconds else ""
    return f"{begun} {row.samples_per_second:.2f} | {row.share_of_peak:.1%} | {row.memory_gb:.1f} GB | {compiled} |"


def _plan(asked: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """Rows, the most valuable first."""
    side, wide, xl = (64, 128, 64) if asked.toy else (512, 768, 1024)
    compared = (GRAPHS, PLAIN, *((KOHYA,) if asked.sd_scripts else ()))
    for work in (Work("sd1", side, 1), Work("sd1", side, 4)):
        yield from ((way, work) for way in compared)
    yield RECIPE, Work("sd1", side, 1)
    compiled = (COMPILED,) if not asked.toy or torch.cuda.is_available() else ()
    yield from ((way, Work("sd1", side, 1)) for way in compiled)
    yield from ((way, Work("sdxl", xl, 1)) for way in compared)
    yield from ((way, Work("sd1", side, 4)) for way in compiled)
    yield RECIPE, Work("sd1", side, 4)
    for work in (Work("sd1", side, 16), Work("sdxl", xl, 4), Work("sd1", wide, 1), Work("sd1", wide, 4)):
        yield from ((way, work) for way in compared)
    yield EAGER, Work("sd1", side, 1)
    yield from ((way, work) for work in (Work("sd1", side, 16), Work("sdxl", xl, 1)) for way in compiled)
    yield from ((way, Work("sd1", wide, 16)) for way in compared)


def main() -> int:
    """Print the table; returns 1 if no row could be measured."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="gpu-benchmark-") as folder:
        bench = Bench(asked, Path(folder))
        print(json.dumps(bench.metadata()))
        print("| way | model, px | batch | samples/s | of matrix peak | memory | first step, compiling |")
        print("|---|---|---|---|---|---|---|")
        for way, work in _plan(asked):
            if asked.only in f"{way} {work.architecture} {work.side_px} {work.batch} ":
                bench.recipe(work.batch) if way == RECIPE else bench.measure(way, work)
    return 0 if any(row.samples_per_second for row in bench.rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="", help="JSON file, written anew behind every row")
    parser.add_argument("--minutes", type=float, default=10, help="no row is begun that would go beyond")
    parser.add_argument("--seconds", type=float, default=5, help="that a row is timed for")
    parser.add_argument("--sd-scripts", default="", help="a checkout of kohya-ss/sd-scripts")
    parser.add_argument(
        "--only", default="", help="rows whose name holds this, such as 'sdxl' or 'compiled sd1 512 4 '"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--toy", action="store_true", help="tiny shapes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
