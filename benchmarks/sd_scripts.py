"""The same training with a checkout of kohya-ss/sd-scripts, in processes of its own.

What it takes to start is taken out: it is run for some steps and for twice as many, and the difference is timed.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from lora_core.diffusion.components import Components
from lora_core.diffusion.tokenizer import shipped_tokenizer
from lora_core.hub.layout import OriginalLayout, Part, TextEncoderAt
from lora_core.recipe import Training

_NEEDED = (
    "accelerate", "cv2", "diffusers", "einops", "imagesize", "safetensors", "toml", "torch", "torchvision", "tqdm",
    "transformers", "voluptuous",
)  # fmt: skip
_LAYOUT = OriginalLayout(
    "sd1", 2, (False, True, True, True), 4,
    (TextEncoderAt("cond_stage_model.transformer.text_model.", "transformers"),),
)  # fmt: skip
_TOKENIZER = "openai_clip-vit-large-patch14"
"""Where sd-scripts looks in its tokenizer cache before it asks the hub."""


@dataclass(frozen=True)
class Work:
    """What is trained."""

    caption: str
    resolution: int
    batch: int
    options: Training


class SdScripts:
    """A checkout and a Python that can run it."""

    def __init__(self, folder: Path, python: Path) -> None:
        """Look whether it can be run at all, before anything is measured.

        Raises:
            SystemExit: it is no checkout, or a package is missing.
        """
        if not (folder / "train_network.py").is_file():
            raise SystemExit(f"{folder}: has no train_network.py; name a checkout of kohya-ss/sd-scripts")
        find = f"import importlib.util as u; print(*[m for m in {_NEEDED} if u.find_spec(m) is None])"
        if missing := subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.strip():
            raise SystemExit(
                f"{python}: lacks {missing.replace(' ', ', ')}, which sd-scripts imports; install "
                f"{folder}/requirements.txt into an environment of its own and name it by --sd-scripts-python"
            )
        self._folder, self._python = folder.resolve(), python.absolute()

    def step_seconds(self, work: Work, base: Components, steps: int) -> tuple[float, int]:
        """Seconds a step, and the peak of its resident memory in bytes.

        Raises:
            SystemExit: sd-scripts failed; its last words are printed.
        """
        with tempfile.TemporaryDirectory(prefix="sd-scripts-") as name:
            folder = Path(name)
            _write(folder, work, base)
            del base
            seconds = {count: self._run(folder, work, count) for count in (steps, 2 * steps)}
        peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return (seconds[2 * steps] - seconds[steps]) / steps, peak_bytes

    def _run(self, folder: Path, work: Work, steps: int) -> float:
        words = [str(self._python), "train_network.py"]
        for key, value in arguments(folder, work, steps).items():
            words += [f"--{key}"] if value is True else [f"--{key}={value}"]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        started = time.perf_counter()
        done = subprocess.run(words, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)
            raise SystemExit(f"sd-scripts ended with {done.returncode}")
        return time.perf_counter() - started


def arguments(folder: Path, work: Work, steps: int) -> Mapping[str, object]:
    """What `train_network.py` is told so that it does our work: fp32, cached latents, both parts trained."""
    options = work.options
    return {
        "pretrained_model_name_or_path": folder / "base.safetensors",
        "tokenizer_cache_dir": folder / "tokenizers",
        "train_data_dir": folder / "pictures",
        "caption_extension": ".txt",
        "output_dir": folder / "out",
        "output_name": "made",
        "save_model_as": "safetensors",
        "network_module": "networks.lora",
        "network_dim": options.rank,
        "network_alpha": options.alpha,
        "resolution": work.resolution,
        "train_batch_size": work.batch,
        "max_train_steps": steps,
        "unet_lr": options.unet_lr,
        "text_encoder_lr": options.text_encoder_lr,
        "optimizer_type": "AdamW",
        "optimizer_args": f"weight_decay={options.weight_decay}",
        "max_grad_norm": options.max_grad_norm,
        "mixed_precision": "no",
        "save_precision": "float",
        "max_data_loader_n_workers": 0,
        "seed": 1,
        "cache_latents": True,
        "sdpa": True,
    }


def _write(folder: Path, work: Work, base: Components) -> None:
    """The model as one file, a folder of pictures, and the tokenizer where sd-scripts looks for it first."""
    vae = AutoencoderKL.from_config(base.vae.config)
    models: dict[Part, nn.Module] = {"unet": base.unet, "vae": vae, "text_encoder": base.text_encoders[0]}
    tensors: dict[str, torch.Tensor] = {}
    for part, model in models.items():
        for key, value in model.state_dict().items():
            square = part == "vae" and ".to_" in key and key.endswith("weight")
            tensors[_LAYOUT.place(part, key).key] = (value[:, :, None, None] if square else value).contiguous()
    save_file(tensors, folder / "base.safetensors")
    pictures = folder / "pictures" / "1_momo"
    pictures.mkdir(parents=True)
    for number in range(work.batch):
        Image.new("RGB", (work.resolution,) * 2, (number % 256, 128, 200)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(work.caption)
    shipped_tokenizer(pad_zero=False).save_pretrained(folder / "tokenizers" / _TOKENIZER)
