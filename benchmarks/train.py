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
import copy
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from sd_scripts import SdScripts, Work
from transformers import CLIPTextConfig, CLIPTextModel

from demo.project import MODELS
from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.tokenizer import shipped_tokenizer
from lora_core.hub import find_model_files
from lora_core.lora.inject import inject
from lora_core.lora.targets import targets
from lora_core.recipe import Network, Training
from lora_core.training.batch import Batch
from lora_core.training.loop import Stepper
from lora_core.training.optim import build_optimizer

ROOT = Path(__file__).parents[1]
LEAST_SHARE = 0.97
CAPTION = "momo, 1girl, solo, upper body, smile, grass, outdoors, realistic, nose, lips"
Step = Callable[[int], float]


@dataclass
class Seconds:
    """What the steps of one way took, a mean for each round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> int:
    """Print a table; returns the exit status."""
    asked = _arguments()
    other = SdScripts(asked.sd_scripts, asked.sd_scripts_python) if asked.sd_scripts else None
    slow = asked.only != "memory" and not _timed(asked)
    if asked.only != "time":
        for name in MAKERS:
            print(f"{name}: peak {_alone(name, asked) / 1e9:.2f} GB")
    if other is not None:
        work = Work(CAPTION, asked.resolution, asked.batch, _options(asked))
        seconds, peak_bytes = other.step_seconds(work, _random(asked.shapes), asked.steps)
        print(f"sd-scripts: {seconds * 1e3:.1f} ms a step, {asked.batch / seconds:.2f} pictures/s")
        print(f"sd-scripts: peak {peak_bytes / 1e9:.2f} GB")
    return int(slow)


def _timed(asked: argparse.Namespace) -> bool:
    """Print the table of times; returns whether ours is fast enough."""
    base = _model(asked.shapes)
    steps = {name: make(_sharing(base), asked) for name, make in MAKERS.items()}
    seconds = {name: Seconds() for name in steps}
    for step in steps.values():
        step(0)
    for pair in range(asked.pairs):
        for name in sorted(steps, reverse=bool(pair % 2)):
            wall, processor = time.perf_counter(), time.process_time()
            for number in range(asked.steps):
                steps[name](pair * asked.steps + number)
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


def _ours(model: Components, asked: argparse.Namespace) -> Step:
    options = _options(asked)
    layers = inject(model, rank=options.rank, alpha=options.alpha, unet=True, text_encoder=True, seed=1)
    optimizer = build_optimizer(layers, options)
    stepper = Stepper(model, layers, optimizer, options, clip_skip=1, dtype=torch.float32, total_steps=10**6)
    side = asked.resolution // 8
    count = asked.batch
    latents = torch.randn(count, 4, side, side)

    def step(number: int) -> float:
        generator = torch.Generator().manual_seed(number)
        batch = Batch(
            latents=latents, noise=torch.randn(latents.shape, generator=generator),
            timesteps=torch.randint(1000, (count,), generator=generator), captions=(CAPTION,) * count,
            weights=torch.ones(count), sizes=torch.zeros(count, 6, dtype=torch.int64),
            counters=tuple((1, 0, number * count + place) for place in range(count)),
            prior=torch.zeros(count, dtype=torch.bool),
        )  # fmt: skip
        return stepper.step(batch, number).loss

    return step


def _plain(model: Components, asked: argparse.Namespace) -> Step:
    options = _options(asked)
    (encoder,), (tokenizer,) = model.text_encoders, model.tokenizers
    found = targets(model, Network(), rank=options.rank, alpha=options.alpha, unet=True, text_encoder=True)
    for part, module in (("unet", model.unet), ("text_encoder", encoder)):
        names = [target.path for target in found if target.part == part]
        config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=names)
        inject_adapter_in_model(config, module)
    trained = [each for module in (model.unet, encoder) for each in module.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=options.unet_lr, weight_decay=options.weight_decay)
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ids = tokenizer(CAPTION, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    side = asked.resolution // 8
    latents = torch.randn(asked.batch, 4, side, side)

    def step(number: int) -> float:
        generator = torch.Generator().manual_seed(number)
        noise = torch.randn(latents.shape, generator=generator)
        timesteps = torch.randint(1000, (asked.batch,), generator=generator)
        states = encoder(ids.expand(asked.batch, -1))[0]
        predicted = model.unet(scheduler.add_noise(latents, noise, timesteps), timesteps, states).sample
        loss = torch.nn.functional.mse_loss(predicted.float(), noise.float())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, options.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


MAKERS: dict[str, Callable[[Components, argparse.Namespace], Step]] = {"ours": _ours, "plain": _plain}


def _model(shapes: str) -> Components:
    return _demo() if shapes == "demo" else _random(shapes)


def _sharing(base: Components) -> Components:
    """Modules of their own around the same weights, which nobody changes: two models in the memory of one."""
    models = (base.unet, base.vae, *base.text_encoders)
    held = [each for model in models for each in (*model.parameters(), *model.buffers())]
    return copy.deepcopy(base, {id(each): each for each in held})


def _demo() -> Components:
    files = find_model_files(str(MODELS / "base"), "")
    return load_components(files, device=torch.device("cpu"), dtype=torch.float32)


def _random(shapes: str) -> Components:
    configs = json.loads((ROOT / f"lora_core/diffusion/configs/{shapes.replace('15', '1')}.json").read_text())
    torch.manual_seed(0)
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(configs["unet"]).requires_grad_(False).eval()
        vae = AutoencoderKL.from_config(configs["vae"])  # never run here
    unet.to_empty(device="cpu")
    for each in unet.parameters():
        _ = each.fill_(0.1) if each.ndim == 1 else each.normal_(0, 0.02)
    encoder = CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])).requires_grad_(False).eval()
    return Components("sd1", unet, vae, (encoder,), (shipped_tokenizer(pad_zero=False),), "epsilon")


def _options(asked: argparse.Namespace) -> Training:
    return Training(resolution=asked.resolution, batch=asked.batch, rank=32, alpha=16)


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
    step = MAKERS[name](_model(asked.shapes), asked)
    for number in range(2):
        step(number)
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
