"""`headcanon preprocess` against the least that any script would have to do, on the same cores in the same minutes.

    python benchmarks/preprocess.py --pictures 1000

Every pair does the same pictures in turn: bare (decode, one Lanczos resize, encode, write), once with Pillow's PNG
encoder and once with the command's, and the whole command (collect, hash, find the subject, cut, flatten, resize,
encode, perceptual hash, blur, thumbnail, store, folder, contact sheet, report). Pairs, because a shared machine is
never equally fast twice: only ratios are worth reading, and that of processor seconds is the one that neighbours change
least. Afterwards one picture is added, and the command runs once more.
"""

import argparse
import io
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from demo.world import STYLE, TARGET, screenshots
from lora_core.images.collect import collect
from lora_core.images.export import write_pictures
from lora_core.images.pipeline import preprocess
from lora_core.images.png import png_bytes
from lora_core.recipe import Preprocess, ShotPlan
from lora_core.report.contact_sheet import sheet_files
from lora_core.store import Store

SIZE_PX = Preprocess().size
# What the command's PNGs have about the size of.
PILLOW_LEVEL = 3


def draw(folder: Path, number: int) -> None:
    """1920×1080 RGBA PNGs with premultiplied alpha: the demo's 76, and copies that lean too far to be duplicates."""
    drawn = folder.parent / "drawn"
    for seed, character in enumerate((STYLE, TARGET)):
        screenshots(character, drawn / str(seed), seed)
    paths = sorted(drawn.rglob("*.png"))
    folder.mkdir()
    for count in range(number):
        turns, which = divmod(count, len(paths))
        degrees = 5 * (turns + 1) // 2 * (-1) ** turns
        with Image.open(paths[which]) as image:
            leaning = image.rotate(degrees, Image.Resampling.BILINEAR)
        leaning.save(folder / f"upper_body_{count:04d}.png", compress_level=6)


class Spent(NamedTuple):
    """Seconds on the clock, and seconds of all cores together."""

    wall: float
    processor: float


def bare_pillow(task: tuple[Path, Path]) -> float:
    """Decode, cut the middle, resize, encode with Pillow, write; returns processor seconds."""
    path, target = task
    began = time.process_time()
    buffer = io.BytesIO()
    _resized(path).save(buffer, "PNG", compress_level=PILLOW_LEVEL)
    target.write_bytes(buffer.getvalue())
    return time.process_time() - began


def bare_ours(task: tuple[Path, Path]) -> float:
    """The same with the command's own encoder."""
    path, target = task
    began = time.process_time()
    target.write_bytes(png_bytes(_resized(path)))
    return time.process_time() - began


def _resized(path: Path) -> Image.Image:
    with Image.open(path) as image:
        left = (image.width - image.height) // 2
        square = image.convert("RGB").crop((left, 0, left + image.height, image.height))
    return square.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)


def run_bare(work: Callable[[tuple[Path, Path]], float], paths: list[Path], out: Path, processes: int) -> Spent:
    """All pictures in so many processes, which are started before the clock."""
    out.mkdir()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(abs, range(processes * 4), chunksize=1)
        began = time.perf_counter()
        processor = sum(pool.map(work, [(path, out / path.name) for path in paths], chunksize=4))
        spent = Spent(time.perf_counter() - began, processor)
    shutil.rmtree(out)
    return spent


def run_command(source: Path, out: Path, store: Path) -> Spent:
    """What `headcanon preprocess` does, without starting Python."""
    began, processor = time.perf_counter(), time.process_time()
    kept, plan = Store(store), ShotPlan()
    manifest = preprocess(kept, collect(kept, source), Preprocess())
    write_pictures(kept, manifest, out, plan, sheet_files(kept, manifest, plan, "benchmark"))
    return Spent(time.perf_counter() - began, time.process_time() - processor)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=1000)
    options.add_argument("--pairs", type=int, default=3, help="the pictures are split between them")
    options.add_argument("--cores", type=int, default=2)
    asked = options.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])
    with tempfile.TemporaryDirectory(prefix="headcanon-bench-") as folder:
        measure(Path(folder), asked.pictures, asked.pairs, asked.cores)


def measure(folder: Path, pictures: int, pairs: int, cores: int) -> None:
    """Print every pair, the medians, and what one more picture costs."""
    draw(folder / "all", pictures + 1)
    *paths, extra = sorted((folder / "all").glob("*.png"))
    extra = extra.rename(folder / extra.name)
    say(f"{pictures} pictures of 1920×1080, {cores} cores, {pairs} pairs")
    say("| pair | bare, Pillow | bare, ours | headcanon | time: of Pillow's | of ours | CPU: of Pillow's | of ours |")
    say("|---" * 8 + "|")
    ratios = [_pair(folder, paths[number::pairs], number + 1, cores) for number in range(pairs)]
    medians = [statistics.median(column) for column in zip(*ratios, strict=True)]
    say("| median | | | | " + " | ".join(f"**{median:.2f}**" for median in medians) + " |")
    whole = run_command(folder / "all", folder / "pictures", folder / "store")
    extra.rename(folder / "all" / extra.name)
    again = run_command(folder / "all", folder / "pictures", folder / "store")
    say(f"\nall {pictures}: {whole.wall:.1f} s, {whole.processor:.1f} CPU s")
    say(f"one picture more: {again.wall:.2f} s, {again.processor:.2f} CPU s")
    say(f"which is {again.wall / whole.wall:.2%} of the time, {again.processor / whole.processor:.2%} of the CPU time")


def _pair(folder: Path, paths: list[Path], number: int, cores: int) -> tuple[float, ...]:
    """The three ways, one behind the other; throughput of the command as a share of the bare ones'."""
    part = folder / "part"
    part.mkdir()
    some = [path.rename(part / path.name) for path in paths]
    pillow = run_bare(bare_pillow, some, folder / "bare", cores)
    command = run_command(part, folder / "pictures", folder / "store")
    ours = run_bare(bare_ours, some, folder / "bare", cores)
    for path in (folder / "pictures", folder / "store"):
        shutil.rmtree(path)
    for path in some:
        path.rename(folder / "all" / path.name)
    part.rmdir()
    ratios = (
        pillow.wall / command.wall, ours.wall / command.wall,
        pillow.processor / command.processor, ours.processor / command.processor,
    )  # fmt: skip
    shown = (
        f"{len(some) / spent.wall:.1f}/s, {spent.processor / len(some) * 1000:.0f} ms"
        for spent in (pillow, ours, command)
    )
    say(f"| {number} | {' | '.join(shown)} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    return ratios


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
