"""sd-scripts' training, as its users run it, on the same model shapes and options; timed by its own progress bar."""

import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import numpy as np
from PIL import Image

from lora_core.device import pick_device
from measure.models import write_tokenizer, written
from measure.runner import Emit, Settings, noted
from measure.ways import ALPHA, CAPTION, RANK, Work

_BAR = re.compile(r"steps:.*?(\d+)/(\d+) \[")
_TOKENIZERS = ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
WARM_UP = 10
_NEEDED = (
    "accelerate", "cv2", "diffusers", "einops", "imagesize", "safetensors", "toml", "torch", "torchvision", "tqdm",
    "transformers", "voluptuous",
)  # fmt: skip


class KohyaError(Exception):
    """sd-scripts did not get to its last step."""


def check(scripts: Path, python: Path) -> None:
    """Look whether a checkout can be run at all, before anything is measured.

    Raises:
        KohyaError: it is no checkout, or a package is missing.
    """
    if not (scripts / "train_network.py").is_file():
        raise KohyaError(f"{scripts}: has no train_network.py; name a checkout of kohya-ss/sd-scripts")
    find = f"import importlib.util as u; print(*[m for m in {_NEEDED} if u.find_spec(m) is None])"
    if missing := subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip():
        raise KohyaError(
            f"{python}: lacks {missing.replace(' ', ', ')}, which sd-scripts imports; install "
            f"{scripts}/requirements.txt into an environment of its own and name it by --sd-scripts-python"
        )


def beside(settings: Settings, emit: Emit, works: tuple[Work, ...]) -> None:
    """A row of sd-scripts' speed for each work; they are to be held against our rows of the same model and batch."""
    scripts, device = Path(settings.sd_scripts), pick_device(settings.device)
    check(scripts, Path(sys.executable))
    for work in works:
        of = {"way": "sd-scripts", "model": f"{work.architecture} {work.side_px}", "batch": work.batch}
        with noted(emit, **of):
            base = written(settings, work.architecture, device)
            write_inputs(settings.folder, max(8, work.batch), work.side_px)
            steps = 3 if settings.rehearse else max(30, 120 // work.batch)
            rate = samples_a_second(scripts, settings.folder, base, work, steps, 60, cpu=device.type == "cpu")
            emit({**of, "samples_per_second": rate, "ms_a_step": 1e3 * work.batch / rate})


def write_inputs(folder: Path, pictures: int, side_px: int) -> None:
    """Pictures with captions in its naming, and the tokenizers that it would look for in the network."""
    for name in _TOKENIZERS:
        if not (folder / "tokenizers" / name).exists():
            write_tokenizer(folder / "tokenizers" / name)
    shown = folder / f"pictures-{side_px}" / "100_momo"
    shown.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0)
    for number in range(pictures):
        pixels = drawn.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(shown / f"{number:03d}.png")
        (shown / f"{number:03d}.txt").write_text(CAPTION)


def samples_a_second(
    scripts: Path, folder: Path, base: Path, work: Work, steps: int, limit_seconds: float, *,
    python: Path = Path(sys.executable), cpu: bool = False,
) -> float:  # fmt: skip
    """Of the steps behind the first ten.

    Args:
        scripts: its checkout.
        folder: what `write_inputs` wrote; its output goes there too.
        base: a diffusers folder.
        work: what is trained.
        steps: how many.
        limit_seconds: it is stopped then.
        python: that has what it needs.
        cpu: on the processor and in float32; else on the GPU and in bfloat16.

    Raises:
        KohyaError: it ended before its last step.
    """
    process = subprocess.Popen(
        [python.absolute(), *command(folder, base, work, steps, cpu=cpu)], cwd=scripts, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, errors="replace",
        env={**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if cpu else {})},
    )  # fmt: skip
    assert process.stderr is not None
    seen: dict[int, float] = {}
    last: deque[str] = deque(maxlen=3)
    watchdog = threading.Timer(limit_seconds, process.kill)
    watchdog.start()
    try:
        for line in process.stderr:  # a progress bar's carriage returns end lines too
            if found := _BAR.search(line):
                seen.setdefault(int(found[1]), time.perf_counter())
            elif line.strip():
                last.append(line.strip())
            if steps in seen:
                break
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    done = [step for step in seen if step >= min(WARM_UP, steps - 1)]
    if len(done) < 2:
        raise KohyaError(" | ".join(last) or "it said nothing")
    first, final = min(done), max(done)
    return (final - first) * work.batch / (seen[final] - seen[first])


def command(folder: Path, base: Path, work: Work, steps: int, *, cpu: bool = False) -> list[str]:
    """Its script and arguments: the method's options, its defaults else, and what every guide turns on."""
    script = "sdxl_train_network.py" if work.architecture == "sdxl" else "train_network.py"
    options = {
        "pretrained_model_name_or_path": base, "train_data_dir": folder / f"pictures-{work.side_px}",
        "output_dir": folder / "out", "output_name": "kohya", "tokenizer_cache_dir": folder / "tokenizers",
        "resolution": f"{work.side_px},{work.side_px}", "train_batch_size": work.batch, "max_train_steps": steps,
        "network_module": "networks.lora", "network_dim": RANK, "network_alpha": ALPHA, "caption_extension": ".txt",
        "unet_lr": work.options.unet_lr, "text_encoder_lr": work.options.text_encoder_lr, "optimizer_type": "AdamW",
        "mixed_precision": "no" if cpu else "bf16", "save_model_as": "safetensors", "seed": 1,
        "max_data_loader_n_workers": 2,
    }  # fmt: skip
    flags = ["--sdpa", "--cache_latents", "--persistent_data_loader_workers"]
    return [script, *(text for name, value in options.items() for text in (f"--{name}", str(value))), *flags]
