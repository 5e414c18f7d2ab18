"""The captions of a batch, read by the text encoders."""

from collections.abc import Sequence

import torch

from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, read_texts
from lora_core.diffusion.prompts import token_ids

Rows = tuple[torch.Tensor, ...]


class TextReader:
    """Captions to what the U-Net reads; what frozen text encoders said once is remembered, on their device."""

    def __init__(self, components: Components, *, clip_skip: int, trained: bool, remember: bool) -> None:
        self._components, self._clip_skip, self._trained = components, clip_skip, trained
        self._remember = remember and not trained
        self._device = components.text_encoders[0].device
        self._ids: dict[str, Rows] = {}
        self._conditions: dict[str, Condition] = {}

    def __call__(self, captions: Sequence[str]) -> Condition:
        """The condition of a batch, with a gradient if the text encoders are trained."""
        return self.condition(self.rows(captions))

    def rows(self, captions: Sequence[str]) -> Rows:
        """All that is looked up by the captions' letters; the rest is done with tensors alone.

        Returns:
            For each text encoder (B, 77) token ids; or, if they are frozen, what they said: (B, 77, width) and for SDXL
            (B, P).
        """
        if self._trained:
            return self._rows_of_ids(captions)
        with torch.no_grad():
            if not self._remember:
                said = self._read(self._rows_of_ids(captions))
            else:
                for caption in captions:
                    if caption not in self._conditions:
                        self._conditions[caption] = self._read(self._rows_of_ids([caption]))
                said = Condition.joined([self._conditions[caption] for caption in captions])
        return (said.states,) if said.pooled is None else (said.states, said.pooled)

    def condition(self, rows: Rows) -> Condition:
        """What the U-Net reads, of `rows`."""
        return self._read(rows) if self._trained else Condition(*rows)

    def _read(self, ids: Rows) -> Condition:
        return read_texts(self._components, ids, self._clip_skip)

    def _rows_of_ids(self, captions: Sequence[str]) -> Rows:
        for caption in captions:
            if caption not in self._ids:
                ids = (token_ids(each, [caption])[0] for each in self._components.tokenizers)
                self._ids[caption] = tuple(each.to(self._device) for each in ids)
        rows = zip(*(self._ids[caption] for caption in captions), strict=True)
        return tuple(torch.cat(its_ids) for its_ids in rows)
