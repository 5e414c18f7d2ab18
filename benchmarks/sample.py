"""What the grid costs beside bare denoising: LoRAs swapped in place, batches, pictures written and kept.

Both draw the same pictures with the same model, which is in memory before either begins, and the same LoRAs.

*Bare denoising* is the U-Net and the scheduler alone: the LoRA is attached and the texts are read beforehand, nothing
is decoded and nothing is written. Reading the texts and decoding the pictures are timed apart, since nobody gets a
picture without them: the three together are what a plain loop costs. *The grid* is all of `sample_epochs`: LoRAs read
and swapped, texts, denoising, decoding, PNGs, the store with its syncs to the disk, the contact sheet. Its pieces are
timed while it runs, so that its whole can also be held against its own denoising: on a machine that others use, two
passes of the same work differ by more than what is measured.

    python benchmarks/sample.py [--base FOLDER_OR_FILE --loras FILE …] [--runs 1] [--device cpu]
    python benchmarks/sample.py --base sd15      SD1.5's shapes with random weights; needs 8 GB of memory
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar
from unittest.mock import patch

import torch
from random_models import make

from demo.project import MODELS
from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import Components, load_components
from lora_core.hub import find_model_files
from lora_core.lora.base import attach, detach, targets
from lora_core.lora.file import read_lora, write_lora
from lora_core.lora.module import LoraModule
from lora_core.recipe import Network, Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling import epochs, sampler
from lora_core.sampling import generate as generating
from lora_core.sampling.epochs import epoch_files, sample_epochs
from lora_core.sampling.generate import Shot, to_picture
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import Store

Result = TypeVar("Result")
RANK = 32
PIECES: dict[str, tuple[ModuleType, str]] = {
    "texts": (generating, "_encode_all"),
    "denoising": (generating, "_draw"),
    "decoding": (generating, "to_picture"),
    "reading LoRAs": (sampler, "read_lora"),
    "swapping LoRAs": (sampler, "attach"),
    "PNGs": (sampler, "png_bytes"),
    "contact sheet": (epochs, "save_samples"),
}
"""What the grid is made of, and the function that does it; the rest is the store, with its syncs to the disk."""
TRIGGER = "momo"


def main() -> None:
    """Draw the same pictures in both ways and print times and their ratios."""
    options = _arguments()
    sampling = Sampling(
        prompts=("{trigger}, 1girl, solo, upper body, smile, grass", "{trigger}, 1girl, solo, portrait, night"),
        seeds=tuple(range(1, options.seeds + 1)), steps=options.steps, width=options.width, height=options.height,
        batch=options.batch, weights=tuple(options.weights), cfg=5.0, negative="",
    )  # fmt: skip
    components = _model(options)
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            lora = _loras(store, components, options)
            bare, pictures = _bare(components, store, lora, sampling, options.device)
            grid, inside = _grid(components, store, lora, sampling, options.device)
        print(
            f"run {number}: {pictures} pictures of {sampling.width}×{sampling.height}, {sampling.steps} steps, "
            f"{len(sampling.weights)} weights of {options.epochs} epochs"
        )
        for name, spent in bare._asdict().items():
            print(f"  bare {name:16} {spent.wall:8.2f} s  {spent.cpu:8.2f} CPU s")
        for name, spent in (*inside.items(), ("all", grid)):
            print(f"  grid: {name:15} {spent.wall:8.2f} s  {spent.cpu:8.2f} CPU s")
        for name, least in (
            ("bare denoising", bare.denoising),
            ("bare texts, denoising and decoding", bare.whole),
            ("its own denoising", inside["denoising"]),
        ):
            print(f"  grid: {grid.wall / least.wall:.3f} of {name}, {grid.cpu / least.cpu:.3f} by CPU time", flush=True)


class Spent(NamedTuple):
    """Seconds on the wall, and of this process' cores."""

    wall: float = 0.0
    cpu: float = 0.0

    def since(self) -> "Spent":
        """From this moment to now."""
        return Spent(time.perf_counter() - self.wall, time.process_time() - self.cpu)

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


class Bare(NamedTuple):
    """What no way of drawing is without."""

    texts: Spent = Spent()
    denoising: Spent = Spent()
    decoding: Spent = Spent()

    @property
    def whole(self) -> Spent:
        """All three."""
        return self.texts.plus(self.denoising).plus(self.decoding)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


def _bare(components: Components, store: Store, lora: LoraRef, sampling: Sampling, device: str) -> tuple[Bare, int]:
    """Each piece's seconds, and how many pictures that was."""
    shots = [
        Shot(prompt.replace("{trigger}", TRIGGER), sampling.negative, seed)
        for prompt in sampling.prompts
        for seed in sampling.seeds
    ]
    columns = [(None, 0.0), *((file, weight) for file in epoch_files(store, lora) for weight in sampling.weights)]
    spent = Bare()
    for file, weight in columns:
        if file is None:
            detach(components)
        else:
            attach(components, read_lora(store.path(file.sha256), file.file), weight)
        every = [text for shot in shots for text in (shot.prompt, shot.negative)]
        texts, reading = _timed(device, lambda every=every: generating._encode_all(components, every, 1))
        spent = spent._replace(texts=spent.texts.plus(reading))
        brush = generating._Brush(components, texts, sampling)
        for start in range(0, len(shots), sampling.batch):
            batch = shots[start : start + sampling.batch]
            latents, denoising = _timed(device, lambda b=batch, k=brush: generating._draw(k, b, lambda done: None))
            _, decoding = _timed(device, lambda drawn=latents: [to_picture(components, one) for one in drawn])
            spent = spent._replace(denoising=spent.denoising.plus(denoising), decoding=spent.decoding.plus(decoding))
    detach(components)
    return spent, len(columns) * len(shots)


def _grid(
    components: Components, store: Store, lora: LoraRef, sampling: Sampling, device: str
) -> tuple[Spent, dict[str, Spent]]:
    """Seconds of the whole grid but for loading the model, and of the pieces that it is made of."""
    base = CheckpointRef(sha256=store.put_tree({}))
    config = SamplerConfig(1, Process(), device)
    inside: dict[str, Spent] = {}
    with ExitStack() as patches:
        for piece, (module, name) in PIECES.items():
            timed = _told(device, piece, getattr(module, name), inside)
            patches.enter_context(patch.object(module, name, timed))
        patches.enter_context(patch.object(sampler, "load_for_drawing", lambda *_, **__: components))
        patches.enter_context(patch.object(sampler, "read_source", lambda *_: components))
        begun = _now()
        sample_epochs(store, base, lora, sampling, config, trigger=TRIGGER)
        return begun.since(), inside


def _told(device: str, piece: str, work: Callable[..., Any], inside: dict[str, Spent]) -> Callable[..., Any]:
    """The same function, whose seconds are added to its piece."""

    def timed(*args: Any, **options: Any) -> Any:
        result, spent = _timed(device, lambda: work(*args, **options))
        inside[piece] = inside.get(piece, Spent()).plus(spent)
        return result

    return timed


def _timed(device: str, work: Callable[[], Result]) -> tuple[Result, Spent]:
    begun = _now()
    result = work()
    if pick_device(device).type == "cuda":
        torch.cuda.synchronize()
    return result, begun.since()


def _loras(store: Store, components: Components, options: argparse.Namespace) -> LoraRef:
    """The files that were named, or as many of random weights, rank 32."""
    if options.loras:
        named = {f"bench-{n:06d}.safetensors": Path(path) for n, path in enumerate(options.loras[:-1], start=1)}
        return LoraRef(sha256=store.put_tree({**named, "bench.safetensors": Path(options.loras[-1])}))
    made: dict[str, Path] = {}
    store.root.mkdir(exist_ok=True)
    for number in range(1, options.epochs + 1):
        name = "bench.safetensors" if number == options.epochs else f"bench-{number:06d}.safetensors"
        made[name] = store.root / name
        write_lora(made[name], _random_lora(components, number), dtype=torch.float16, metadata={})
    return LoraRef(sha256=store.put_tree(made))


def _random_lora(components: Components, seed: int) -> dict[str, LoraModule]:
    generator = torch.Generator().manual_seed(seed)
    parts = {"unet": components.unet, "text_encoder": components.text_encoders[0]}
    modules = {}
    for target in targets(components, Network(), rank=RANK, alpha=RANK / 2, unet=True, text_encoder=True):
        wide, narrow, *kernel = parts[target.part].get_submodule(target.path).get_parameter("weight").shape
        down = torch.randn((RANK, narrow, *kernel), generator=generator) / RANK
        up = torch.randn((wide, RANK, *(1 for _ in kernel)), generator=generator) / 100
        modules[target.name] = LoraModule.plain(down, up, RANK / 2)
    return modules


def _model(options: argparse.Namespace) -> Components:
    where = pick_device(options.device)
    dtype = pick_dtype("auto", where)
    if options.base == "sd15":
        return make("sd1", where, dtype, toy=False)
    return load_components(find_model_files(options.base, ""), device=where, dtype=dtype)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=str(MODELS / "base"), help="default: the demo's tiny model; or sd15")
    parser.add_argument("--loras", nargs="*", default=[], help="default: random weights, rank 32")
    parser.add_argument("--epochs", type=int, default=3, help="of the random LoRA")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.6, 0.8, 1.0])
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
