"""The captions of a batch, read by the text encoders."""

from collections.abc import Sequence

import torch

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, read_texts
from lora_core.diffusion.prompts import token_ids


class TextReader:
    """Captions to what the U-Net reads; what frozen text encoders said once is remembered."""

    def __init__(self, components: Components, *, clip_skip: int, trained: bool, remember: bool) -> None:
        self._components, self._clip_skip, self._trained = components, clip_skip, trained
        self._remember = remember and not trained
        self._ids: dict[str, tuple[torch.Tensor, ...]] = {}
        self._conditions: dict[str, Condition] = {}

    def __call__(self, captions: Sequence[str]) -> Condition:
        """The condition of a batch, with a gradient if the text encoders are trained."""
        if self._trained:
            return self._read(captions)
        with torch.no_grad():
            if not self._remember:
                return self._read(captions)
            for caption in captions:
                if caption not in self._conditions:
                    self._conditions[caption] = self._read([caption])
            return Condition.joined([self._conditions[caption] for caption in captions])

    def _read(self, captions: Sequence[str]) -> Condition:
        for caption in captions:
            if caption not in self._ids:
                self._ids[caption] = tuple(token_ids(each, [caption])[0] for each in self._components.tokenizers)
        rows = zip(*(self._ids[caption] for caption in captions), strict=True)
        device = self._components.text_encoders[0].device
        return read_texts(self._components, [torch.cat(its_ids).to(device) for its_ids in rows], self._clip_skip)
