"""Merging a LoRA into a checkpoint of real size, beside copying that checkpoint on the same disk.

The checkpoint has the real architecture's tensors with random numbers, the LoRA is one as sd-scripts makes it, of rank
64. Both ways start with nothing of the file in memory (its cached pages are given up before each), both end when the
bytes are on the disk (fsync). Each is done in turn, and the medians are compared.

    python benchmarks/merge.py sd15            2.1 GB in fp16; needs 7 GB of disk
    python benchmarks/merge.py sdxl            6.9 GB in fp16; needs 22 GB

Exits with 1 when the merge takes more than 2.5 times the copy or holds more than 1 GB besides the mapped files.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from lora_core.hub.detect import Architecture
from lora_core.hub.formats import TensorInfo, write_safetensors
from lora_core.hub.layout import OriginalLayout, Part, TextEncoderAt
from lora_core.lora.combine import Term
from lora_core.lora.file import write_lora
from lora_core.lora.merge import merge_file
from lora_core.lora.module import LoraModule
from lora_core.progress import silent

ROOT = Path(__file__).parents[1]
RANK = 64
MOST_TIMES, MOST_BYTES = 2.5, 1_000_000_000
FIRST_CLIP = "transformer.text_model."
LAYOUTS: dict[str, OriginalLayout] = {
    "sd15": OriginalLayout(
        "sd1", 2, (False, True, True, True), 4, (TextEncoderAt(f"cond_stage_model.{FIRST_CLIP}", "transformers"),)
    ),
    "sdxl": OriginalLayout(
        "sdxl", 2, (True, True, False), 4,
        (
            TextEncoderAt(f"conditioner.embedders.0.{FIRST_CLIP}", "transformers"),
            TextEncoderAt("conditioner.embedders.1.model.", "open_clip"),
        ),
    ),
}  # fmt: skip


def models(architecture: Architecture) -> dict[Part, nn.Module]:
    """The real architecture, without memory."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    configs = json.loads((ROOT / f"lora_core/diffusion/configs/{architecture}.json").read_text())
    with torch.device("meta"):
        found: dict[Part, nn.Module] = {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }
        if "text_encoder_2" in configs:
            found["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
    return found


def write_checkpoint(path: Path, layout: OriginalLayout) -> None:
    """Random fp16 numbers in the original layout: one block of them over and over, which no disk compresses away."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part, model in models(layout.architecture).items():
        for key, value in model.state_dict().items():
            place = layout.place(part, key)
            rows = 3 if place.third is not None else 1
            shapes[place.key] = (value.shape[0] * rows, *value.shape[1:]) if value.ndim else ()
    infos: dict[str, TensorInfo] = {}
    end = 0
    for key, shape in sorted(shapes.items()):
        size = 2 * int(torch.Size(shape).numel())
        infos[key] = TensorInfo("F16", shape, end, end + size)
        end += size
    block = (torch.randn(1 << 24, generator=torch.Generator().manual_seed(0)) * 0.02).half().view(torch.uint8)
    data = memoryview(block.numpy())

    def pieces() -> Iterator[memoryview]:
        for info in infos.values():
            for start in range(info.start, info.end, len(data)):
                yield data[: min(len(data), info.end - start)]

    write_safetensors(path, infos, {}, pieces())


def write_adapter(path: Path, size: str) -> None:
    """A LoRA of rank 64 for every module that sd-scripts trains."""
    golden = json.loads((ROOT / f"tests/golden/lora_keys_{size}_rank4.json").read_text())["keys"]
    generator = torch.Generator().manual_seed(1)
    modules = {}
    for name in {key.partition(".")[0] for key in golden}:
        _, *inputs = golden[f"{name}.lora_down.weight"]
        outputs, _, *ones = golden[f"{name}.lora_up.weight"]
        down, up = ((RANK, *inputs), (outputs, RANK, *ones))
        random = [torch.randn(shape, generator=generator) * 0.01 for shape in (down, up)]
        modules[name] = LoraModule.plain(*random, alpha=RANK / 2)
    write_lora(path, modules, dtype=torch.float16, metadata={})


def write_files(base: Path, lora: Path, size: str) -> None:
    """What is merged."""
    write_checkpoint(base, LAYOUTS[size])
    write_adapter(lora, size)


class Watch:
    """The most memory of this process that is no mapped file, in bytes, while the block runs."""

    def __enter__(self) -> "Watch":
        self._done, self.before = threading.Event(), anonymous_bytes()
        self.most = self.before
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.most = max(self.most, anonymous_bytes())


def anonymous_bytes() -> int:
    """Resident memory that is no mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this benchmark reads /proc/self/status and runs on Linux only")


def on_disk(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def forget(path: Path) -> None:
    """Give up a file's cached pages."""
    on_disk(path)
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


@dataclass(frozen=True)
class Run:
    """One way, once."""

    wall: float
    """Seconds until the bytes are on the disk."""
    processor: float
    """Seconds of all threads: what busy neighbours change least."""


def timed(work: Callable[[], None], source: Path, made: Path) -> Run:
    """Time one way; what it made is removed."""
    forget(source)
    started, processor = time.perf_counter(), time.process_time()
    work()
    run = Run(time.perf_counter() - started, time.process_time() - processor)
    made.unlink()
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=LAYOUTS)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure; a temporary one if absent")
    parser.add_argument("--rounds", type=int, default=3, help="each way so many times, in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="merge-benchmark-") as name:
        folder = Path(name)
        base, lora, out = (folder / f"{file}.safetensors" for file in ("base", "lora", "out"))
        # In a process of its own, so that its memory is not taken for the merge's.
        maker = multiprocessing.get_context("spawn").Process(target=write_files, args=(base, lora, options.size))
        maker.start()
        maker.join()
        copies: list[Run] = []
        merges: list[Run] = []
        most = 0

        def copy() -> None:
            shutil.copyfile(base, out)
            on_disk(out)

        def merge() -> None:
            merge_file({base.name: base}, [Term(lora)], out, silent)

        for _ in range(options.rounds):
            copies.append(timed(copy, base, out))
            with Watch() as watch:
                merges.append(timed(merge, base, out))
            most = max(most, watch.most)
        size = base.stat().st_size
    times = middle(merges, "wall") / middle(copies, "wall")
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print(f"{options.size}: {size / 1e9:.2f} GB in fp16, LoRA of rank {RANK}, {options.rounds} rounds in turn")
    print(f"  {threads} threads on {os.cpu_count()} cores, load average {load:.1f}")
    print(f"  copy    {text(copies)}")
    print(f"  merge   {text(merges)}")
    print(f"  merge / copy: {times:.2f}× (at most {MOST_TIMES}×), ", end="")
    print(f"processor {middle(merges, 'processor') / middle(copies, 'processor'):.2f}×")
    print(f"  memory that is no mapped file: {most / 1e6:.0f} MB at most (limit {MOST_BYTES / 1e6:.0f})")
    sys.exit(times > MOST_TIMES or most > MOST_BYTES)


def middle(runs: list[Run], field: str) -> float:
    """Median of a field."""
    return statistics.median(getattr(run, field) for run in runs)


def text(runs: list[Run]) -> str:
    """Medians, and the wall seconds of each round."""
    rounds = ", ".join(f"{run.wall:.2f}" for run in runs)
    return f"{middle(runs, 'wall'):6.2f} s ({rounds}), processor {middle(runs, 'processor'):.2f} s"


if __name__ == "__main__":
    main()
