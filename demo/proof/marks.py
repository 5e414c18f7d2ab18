"""The mark probe: whether a picture shows a trait that no tag names, a curl that stands up or a sash.

Trained on the world's own pictures (`demo/train/marks.py`), in both looks, with marks of other shapes beside these two
(tufts, a level stripe), so that the shape is what it reads. The file's metadata says how often it is right on pictures
that it never saw.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from demo.proof.probe import as_tensor
from demo.world.scene import Composition

HiddenTrait = Literal["curl", "sash"]
HIDDEN_TRAITS: Final[tuple[HiddenTrait, ...]] = get_args(HiddenTrait)
VISIBLE_IN: Final[Mapping[HiddenTrait, tuple[Composition, ...]]] = {
    "curl": ("portrait", "upper_body", "cowboy_shot"),
    "sash": ("upper_body", "cowboy_shot"),
}
"""Framings in which a true picture shows it."""
MARKS_FILE: Final = Path(__file__).parents[1] / "models" / "probe" / "marks.safetensors"
_CHANNELS: Final = 32
_LAST_SIDE_PX: Final = 8


class MarkProbe(nn.Module):
    """Pictures (B, 3, 128, 128) RGB in [-1, 1] to logits (B, 2), one for each of `HIDDEN_TRAITS`."""

    def __init__(self) -> None:
        super().__init__()
        half = _CHANNELS // 2
        self.first = nn.Sequential(nn.Conv2d(3, half, 5, 2, 2), nn.GroupNorm(4, half), nn.ReLU())
        self.second = _halving(half)
        self.third = _halving(_CHANNELS)
        # Place by place: a vote of all windows alike does not come to see a mark among so much else.
        self.found = nn.Linear(_CHANNELS * _LAST_SIDE_PX**2, len(HIDDEN_TRAITS))

    def forward(self, images: Tensor) -> Tensor:
        """Returns a logit a trait, (B, 2)."""
        # Half the resolution: marks are large, and an autoencoder's crumbs are gone.
        seen = self.third(self.second(self.first(functional.avg_pool2d(images, 2))))
        logits: Tensor = self.found(seen.flatten(1))
        return logits


def _halving(channels: int) -> nn.Sequential:
    """(B, channels, h, w) to (B, 32, h/2, w/2)."""
    return nn.Sequential(
        nn.Conv2d(channels, _CHANNELS, 3, padding=1), nn.GroupNorm(4, _CHANNELS), nn.ReLU(), nn.MaxPool2d(2)
    )


def load_marks(path: Path = MARKS_FILE) -> MarkProbe:
    """Returns the trained probe."""
    probe = MarkProbe()
    probe.load_state_dict(load_file(path))
    return probe.eval().requires_grad_(False)


def trait_probabilities(probe: MarkProbe, pictures: Sequence[Image.Image]) -> list[dict[HiddenTrait, float]]:
    """Returns how likely each picture shows each hidden trait, in [0, 1]."""
    # One by one: in a batch the neighbours decide about the last bits.
    found = [torch.sigmoid(probe(as_tensor(picture)[None]))[0].tolist() for picture in pictures]
    return [dict(zip(HIDDEN_TRAITS, one, strict=True)) for one in found]
