"""Pictures into a folder, without a store: what `headcanon sample` does."""

from collections.abc import Mapping
from pathlib import Path

from lora_core.device import pick_device, pick_dtype
from lora_core.diffusion.components import load_components
from lora_core.errors import OutputExistsError
from lora_core.lora.base import attach
from lora_core.progress import Progress
from lora_core.recipe import Process, Sampling
from lora_core.sampling.generate import Shot, generate
from lora_core.sampling.infotext import infotext, png_bytes
from lora_core.store.files import write_atomically


def sample_to_folder(
    base: Mapping[str, Path],
    lora: Path | None,
    options: Sampling,
    folder: Path,
    *,
    clip_skip: int,
    device: str,
    progress: Progress,
    process: Process | None = None,
) -> tuple[Path, ...]:
    """Draw every prompt with every seed into `folder` as PROMPT-SEED.png, counted from 1.

    The LoRA has the first of the options' weights. `process` is what is told of the base's diffusion process; None:
    what the base says itself.

    Returns:
        The files, each with its infotext.

    Raises:
        CheckpointError, LoraError: a model cannot be used.
        OutputExistsError: a name is taken by another picture; those before it are kept.
    """
    where = pick_device(device)
    components = load_components(base, device=where, dtype=pick_dtype("auto", where), process=process)
    weight = options.weights[0]
    if lora is not None:
        attach(components, lora, weight)
    named = {
        folder / f"{number}-{seed}.png": Shot(prompt, options.negative, seed)
        for number, prompt in enumerate(options.prompts, start=1)
        for seed in options.seeds
    }
    pictures = generate(components, list(named.values()), options, clip_skip, progress)
    for (path, shot), picture in zip(named.items(), pictures, strict=True):
        name = lora.stem if lora else ""
        data = png_bytes(picture, infotext(shot, options, name, weight, clip_skip=clip_skip))
        if path.exists() and path.read_bytes() != data:
            raise OutputExistsError(f"{path}: exists with another picture and is not overwritten; give another --out")
        write_atomically(path, data)
    return tuple(named)
