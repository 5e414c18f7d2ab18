"""Texts of any length as CLIP reads them: in chunks of 75 tokens, each between its own start and end, as web UIs do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import CLIPTokenizer

from lora_core.captions.emphasis import Section

CHUNK_TOKENS = 75
CHUNK_IDS = CHUNK_TOKENS + 2
"""With start and end."""
_BACKTRACK = 20
"""A tag that a chunk's end would cut goes to the next chunk whole, if it has so few tokens (A1111's default)."""

Token = tuple[int, float]
"""Its id and weight."""


@dataclass(frozen=True)
class Chunks:
    """One text for one text encoder.

    Attributes:
        ids: (1, n · 77) int64.
        weights: (1, n · 77) float32, the emphasis; 1 on start, end and padding.
        tokens: up to the last one of the text, as web UIs count: a chunk that is not the last counts 75.
        cut: whether there was more than may be read.
    """

    ids: torch.Tensor
    weights: torch.Tensor
    tokens: int
    cut: bool

    @property
    def count(self) -> int:
        """Chunks, at least one."""
        return self.ids.shape[1] // CHUNK_IDS

    @property
    def emphasized(self) -> bool:
        """Whether a weight is not 1."""
        return bool((self.weights != 1).any())

    def padded(self, count: int, tokenizer: CLIPTokenizer) -> "Chunks":
        """With empty chunks behind, so that there are this many."""
        empty, more = chunked(tokenizer, ()), count - self.count
        ids = torch.cat([self.ids, *[empty.ids] * more], dim=1)
        return Chunks(ids, torch.cat([self.weights, *[empty.weights] * more], dim=1), self.tokens, self.cut)


def chunked(tokenizer: CLIPTokenizer, sections: Sequence[Section], most_tokens: int | None = None) -> Chunks:
    """A text in as many chunks as it needs.

    A1111's rule: a chunk ends at 75 tokens, at BREAK, or behind the last comma where the tag after it would be cut.

    Args:
        tokenizer: of the text encoder.
        sections: of the text, from `read_prompt` or `literal`.
        most_tokens: 75, 150, 225 …: what comes behind is cut off; None: everything is read.
    """
    most = None if most_tokens is None else most_tokens // CHUNK_TOKENS
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    found: list[list[Token]] = []
    for number, section in enumerate(sections):
        full, rest, cut = _filled(_tokens(tokenizer, section), comma, None if most is None else most - len(found))
        found += full
        if cut:
            return _as_tensors(tokenizer, found, cut=True)
        if rest or number < len(sections) - 1:
            found.append(rest)
    return _as_tensors(tokenizer, found or [[]], cut=False)


def _tokens(tokenizer: CLIPTokenizer, section: Section) -> Iterator[Token]:
    for span in section:
        for token in tokenizer(span.text, add_special_tokens=False, verbose=False)["input_ids"]:
            yield token, span.weight


def _filled(tokens: Iterator[Token], comma: int, most: int | None) -> tuple[list[list[Token]], list[Token], bool]:
    """Full chunks, the one that is not full yet, and whether more than `most` chunks were needed."""
    full: list[list[Token]] = []
    now: list[Token] = []
    last_comma = -1
    for token in tokens:
        if len(now) == CHUNK_TOKENS:
            if most is not None and len(full) + 1 >= most:
                return [*full, now], [], True
            near = last_comma >= 0 and CHUNK_TOKENS - last_comma <= _BACKTRACK and token[0] != comma
            end = last_comma + 1 if near else CHUNK_TOKENS
            full.append(now[:end])
            now, last_comma = now[end:], -1
        elif token[0] == comma:
            last_comma = len(now)
        now.append(token)
    return full, now, False


def _as_tensors(tokenizer: CLIPTokenizer, chunks: Sequence[Sequence[Token]], *, cut: bool) -> Chunks:
    ids: list[int] = []
    weights: list[float] = []
    for chunk in chunks:
        padding = CHUNK_TOKENS - len(chunk)
        ids += [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * padding
        weights += [1.0, *(weight for _, weight in chunk), *[1.0] * (padding + 1)]
    tokens = CHUNK_TOKENS * (len(chunks) - 1) + len(chunks[-1])
    return Chunks(torch.tensor([ids]), torch.tensor([weights]), tokens, cut)
