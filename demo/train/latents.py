"""Encodes all training pictures once, so that the U-Net never waits for the autoencoder."""

import json
import logging
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from demo.train.loop import DEVICE, half_precision, replace_file
from demo.train.render import FULL_PX, SMALL_PX, load_pictures
from demo.train.vae import SCALING, to_tensor, trained_vae

LOG = logging.getLogger(__name__)

_BATCH = 50


@torch.no_grad()
def encode_pictures(work: Path) -> None:
    """Writes `work/latents-SIZE.safetensors` for both picture sizes: scaled posterior means, (N, 4, side/8, side/8)."""
    vae = trained_vae(work).to(DEVICE)
    for size_px in (SMALL_PX, FULL_PX):
        pictures = load_pictures(work, size_px)
        latents = []
        for start in range(0, len(pictures.pixels), _BATCH):
            with half_precision():
                pixels = to_tensor(pictures.pixels[start : start + _BATCH]).to(DEVICE)
                mean = vae.encode(pixels).latent_dist.mean
            latents.append((mean.float() * SCALING).half().cpu())
            if start % 4000 == 0:
                LOG.info("latents %d px: %d", size_px, start)
        whole, tags = torch.cat(latents).contiguous(), json.dumps(pictures.tags)
        LOG.info(
            "latents %d px: mean %s deviation %s",
            size_px,
            whole.float().mean((0, 2, 3)).tolist(),
            whole.float().std((0, 2, 3)).tolist(),
        )
        save = partial(save_file, {"latents": whole}, metadata={"tags": tags})
        replace_file(work / f"latents-{size_px}.safetensors", save)


def load_latents(work: Path, size_px: int) -> tuple[Tensor, list[list[str]]]:
    """Returns latents (N, 4, side, side) and the tags of each picture."""
    with safe_open(str(work / f"latents-{size_px}.safetensors"), "pt") as file:
        return file.get_tensor("latents").float(), json.loads(file.metadata()["tags"])
