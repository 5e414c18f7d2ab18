"""Trains the demo's models: `python -m demo.train [--step STEP] [--work DIR] [--minutes N]`."""

import argparse
import ctypes
import logging
from pathlib import Path
from typing import Final

import torch

from demo.train import export, latents, render, tagger, text, unet, vae

STEPS: Final = ("render", "vae", "latents", "text", "unet", "tagger", "export")
MODELS: Final = Path(__file__).resolve().parents[1] / "models"
# glibc's malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_MAX: Final = -4


def main() -> None:
    """Runs one step, or all of them in order."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("--step", choices=STEPS, help="only this step (default: all, in order)")
    parser.add_argument("--work", type=Path, default=Path(".demo-work"), help="folder for pictures, states and logs")
    parser.add_argument("--minutes", type=float, help="time limit of a training step")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for step in STEPS if options.step is None else (options.step,):
        run_step(step, options.work, options.minutes)


def keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks: without it every activation is mapped and zeroed anew, which took five sixths of the time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_TOP_PAD, 2**28)


def run_step(step: str, work: Path, minutes: float | None) -> None:
    """Runs one named step."""
    match step:
        case "render":
            render.render(work)
        case "vae":
            vae.train(work, minutes)
        case "latents":
            latents.encode_pictures(work)
        case "text":
            text.train(work, minutes)
        case "unet":
            unet.train(work, minutes)
        case "tagger":
            tagger.train(work, minutes)
        case "export":
            export.export(work, MODELS)
        case _:
            raise ValueError(f"step is {step!r}; allowed: {', '.join(STEPS)}")


if __name__ == "__main__":
    main()
