"""Trains the demo's models: `python -m demo.train [--step STEP] [--work DIR] [--minutes N]`."""

import argparse
from pathlib import Path
from typing import Final

from demo.train import by_eye, export, latents, marks, measure, probe, render, tagger, text, unet, vae
from demo.train.loop import prepare_process

STEPS: Final = (
    "render", "vae", "latents", "text", "unet", "tagger", "decoder", "measure", "export", "probe", "marks", "by-eye",
)  # fmt: skip
MODELS: Final = Path(__file__).resolve().parents[1] / "models"


def main() -> None:
    """Runs one step, or all of them in order."""
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("--step", choices=STEPS, help="only this step (default: all, in order)")
    parser.add_argument("--work", type=Path, default=Path(".demo-work"), help="folder for pictures, states and logs")
    parser.add_argument("--minutes", type=float, help="time limit of a training step")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    prepare_process(options.threads)
    for step in STEPS if options.step is None else (options.step,):
        run_step(step, options.work, options.minutes)


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
        case "decoder":
            vae.train_decoder(work, minutes)
        case "measure":
            measure.measure(work)
        case "export":
            export.export(work, MODELS)
        case "probe":
            probe.train(work, MODELS, minutes)
        case "marks":
            marks.train(work, MODELS, minutes)
        case "by-eye":
            by_eye.report(MODELS)
        case _:
            raise ValueError(f"step is {step!r}; allowed: {', '.join(STEPS)}")


if __name__ == "__main__":
    main()
