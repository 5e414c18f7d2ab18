"""The look probe: a second opinion, beside the tagger's, on whether a picture is in the flat or the solid look.

It sees a picture only through windows of 18 pixels and lets them vote, so it can judge surfaces and outlines but knows
neither faces nor characters; the tagger sees whole pictures. It was trained on other pictures, with their colours
mixed up (`demo/train/probe.py`), so the two have no mistake in common by construction.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

PROBE_FILE: Final = Path(__file__).parents[1] / "models" / "probe" / "probe.safetensors"
SIDE_PX: Final = 128
_CHANNELS: Final = 32


class Probe(nn.Module):
    """Pictures (B, 3, 128, 128) RGB in [-1, 1] to logits (B,): positive is solid."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, _CHANNELS, 3)
        self.second = nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2)
        self.third = nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2)
        self.vote = nn.Conv2d(_CHANNELS, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the mean vote of all windows, (B,)."""
        # Half the resolution: an autoencoder's crumbs are gone, shading stays.
        x = torch.tanh(self.first(functional.avg_pool2d(images, 2)))
        x = functional.relu(self.third(functional.relu(self.second(x))))
        votes: Tensor = self.vote(x).mean((1, 2, 3))
        return votes


def load_probe(path: Path = PROBE_FILE) -> Probe:
    """Returns the trained probe."""
    probe = Probe()
    probe.load_state_dict(load_file(path))
    return probe.eval().requires_grad_(False)


def solid_probabilities(probe: Probe, pictures: Sequence[Image.Image]) -> list[float]:
    """Returns how likely each picture is in the solid look, in [0, 1]."""
    # One by one: in a batch the neighbours decide about the last bits.
    return [torch.sigmoid(probe(as_tensor(picture)[None])).item() for picture in pictures]


def as_tensor(picture: Image.Image) -> Tensor:
    """Returns a picture as (3, 128, 128) in [-1, 1]."""
    square = picture.convert("RGB")
    if square.size != (SIDE_PX, SIDE_PX):
        square = square.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1
