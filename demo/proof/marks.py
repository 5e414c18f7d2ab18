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


class MarkProbe(nn.Module):
    """Pictures (B, 3, 128, 128) RGB in [-1, 1] to logits (B, 2), one for each of `HIDDEN_TRAITS`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, 5, 2, 2)
        self.second = nn.Conv2d(24, _CHANNELS, 3, 2, 1)
        self.third = nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2, 1)
        self.fourth = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
        self.fifth = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(_CHANNELS, 16, 16))
        self.found = nn.Conv2d(_CHANNELS, len(HIDDEN_TRAITS), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the strongest finding anywhere, (B, 2)."""
        x = images
        for layer in (self.first, self.second, self.third, self.fourth):
            x = functional.relu(layer(x))
        x = functional.relu(self.fifth(x) + self.place)
        strongest: Tensor = self.found(x).flatten(2).logsumexp(2)
        return strongest


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
