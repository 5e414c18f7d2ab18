"""What the grid costs beside bare denoising: LoRAs swapped in place, batches, pictures written and kept.

Both draw the same pictures on the same model with the same LoRAs: the grid through `sample_epochs`, bare denoising by
the U-Net and the scheduler alone, its LoRA attached and its texts read beforehand, nothing decoded and nothing written.

    python benchmarks/sample.py [--base FOLDER_OR_FILE --loras FILE …] [--runs 1] [--device cpu]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from demo.project import MODELS
from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import Components, load_components
from lora_core.hub import find_model_files
from lora_core.lora.attach import attach, detach
from lora_core.lora.file import read_lora, write_lora
from lora_core.lora.inject import inject
from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling import generate as generating
from lora_core.sampling.easel import Studio
from lora_core.sampling.epochs import epoch_files, sample_epochs
from lora_core.sampling.generate import Shot
from lora_core.store import Store


def main() -> None:
    """Draw the same pictures in both ways and print both times and their ratios."""
    options = _arguments()
    sampling = Sampling(
        prompts=("{trigger}, 1girl, solo, upper body, smile, grass", "{trigger}, 1girl, solo, portrait, night"),
        seeds=tuple(range(1, options.seeds + 1)), steps=options.steps, width=options.width, height=options.height,
        batch=options.batch, weights=(0.6, 0.8, 1.0), cfg=5.0, negative="",
    )  # fmt: skip
    files = find_model_files(options.base, "")
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            base = CheckpointRef(sha256=store.put_tree(files, how="refer"))
            lora = _loras(store, files, options)
            bare, pictures = _bare(store, files, lora, sampling, options.device)
            grid = _grid(store, base, lora, sampling, options.device)
        print(
            f"run {number}: {pictures} pictures of {sampling.width}×{sampling.height}, {sampling.steps} steps: bare "
            f"denoising {bare.wall:.2f} s ({bare.cpu:.2f} CPU s), grid {grid.wall:.2f} s ({grid.cpu:.2f} CPU s): "
            f"{grid.wall / bare.wall:.3f} times the time, {grid.cpu / bare.cpu:.3f} times the CPU time"
        )


class Spent(NamedTuple):
    """Seconds on the wall, and of this process' cores."""

    wall: float
    cpu: float

    def since(self) -> "Spent":
        """From this moment to now."""
        return Spent(time.perf_counter() - self.wall, time.process_time() - self.cpu)

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


def _bare(store: Store, files: dict[str, Path], lora: LoraRef, sampling: Sampling, device: str) -> tuple[Spent, int]:
    """Seconds of denoising alone, and how many pictures that was."""
    components = _load(files, device)
    shots = [
        Shot(prompt.replace("{trigger}", "momo"), sampling.negative, seed)
        for prompt in sampling.prompts
        for seed in sampling.seeds
    ]
    columns = [(None, 0.0), *((file, weight) for file in epoch_files(store, lora) for weight in sampling.weights)]
    spent = Spent(0.0, 0.0)
    for file, weight in columns:
        if file is None:
            detach(components)
        else:
            attach(components, read_lora(store.path(file.sha256), file.file), weight)
        texts = generating._encode_all(components, [text for shot in shots for text in (shot.prompt, shot.negative)], 1)
        brush = generating._Brush(components, texts, sampling)
        for start in range(0, len(shots), sampling.batch):
            begun = _now()
            generating._draw(brush, shots[start : start + sampling.batch], lambda done: None)
            _wait(device)
            spent = spent.plus(begun.since())
    return spent, len(columns) * len(shots)


def _grid(store: Store, base: CheckpointRef, lora: LoraRef, sampling: Sampling, device: str) -> Spent:
    """Seconds of the whole grid, the model loaded, every picture and the contact sheet written."""
    begun = _now()
    sample_epochs(store, base, lora, sampling, Studio(1, Process(), device), trigger="momo")
    return begun.since()


def _loras(store: Store, files: dict[str, Path], options: argparse.Namespace) -> LoraRef:
    """The files that were named, or as many of random weights, rank 32."""
    if options.loras:
        named = {f"bench-{n:06d}.safetensors": Path(path) for n, path in enumerate(options.loras[:-1], start=1)}
        return LoraRef(sha256=store.put_tree({**named, "bench.safetensors": Path(options.loras[-1])}))
    made: dict[str, Path] = {}
    for number in range(1, options.epochs + 1):
        components = _load(files, "cpu")
        layers = inject(components, rank=32, alpha=16.0, unet=True, text_encoder=True, seed=number)
        for layer in layers:
            layer.up.data.normal_(0, 0.01, generator=torch.Generator().manual_seed(number))
        name = "bench.safetensors" if number == options.epochs else f"bench-{number:06d}.safetensors"
        made[name] = store.root / name
        store.root.mkdir(exist_ok=True)
        write_lora(made[name], layers, dtype=torch.float16, metadata={})
    return LoraRef(sha256=store.put_tree(made))


def _load(files: dict[str, Path], device: str) -> Components:
    where = pick_device(device)
    return load_components(files, device=where, dtype=pick_dtype("auto", where))


def _wait(device: str) -> None:
    if pick_device(device).type == "cuda":
        torch.cuda.synchronize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=str(MODELS / "base"), help="default: the demo's tiny model")
    parser.add_argument("--loras", nargs="*", default=[], help="default: random weights, rank 32")
    parser.add_argument("--epochs", type=int, default=3, help="of the random LoRA")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
