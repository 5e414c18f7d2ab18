"""What a sum of LoRAs is made of: files with their weights, and their modules under names that all of them share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_core.errors import LoraError
from lora_core.lora.adapter_file import OpenAdapters, open_any
from lora_core.lora.file import LoraModule
from lora_core.lora.names import kernel_of, same_name

PRECISIONS: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Term:
    """A LoRA file and its weight in a sum."""

    path: Path
    weight: float = 1.0
    name: str = ""
    """What the user calls the file; the path if empty."""

    def __post_init__(self) -> None:
        """Refuse a weight that is no number.

        Raises:
            LoraError: it is NaN or infinite.
        """
        if not math.isfinite(self.weight):
            raise LoraError(f"{self.name or self.path}: weight {self.weight} is no number; give one such as 0.8")


def weighted(paths: Sequence[Path], weights: Sequence[float]) -> list[Term]:
    """LoRAs with their weights: one weight for all, or one for each.

    Raises:
        LoraError: there is another number of weights.
    """
    if len(weights) not in (1, len(paths)):
        raise LoraError(
            f"{len(weights)} weights for {len(paths)} LoRA files; give one for all or one for each, in order"
        )
    return [Term(path, weight) for path, weight in zip(paths, [*weights] * len(paths), strict=False)]


class Source:
    """A term whose file is open. What it reads are plain LoRAs, whatever kind is in the file."""

    def __init__(self, term: Term) -> None:
        """Read the file's header.

        Raises:
            LoraError: it is not readable, or a DoRA.
        """
        self._lora = open_any(term.path, term.name)
        self.name, self.weight, self.metadata = self._lora.name, term.weight, self._lora.metadata
        self.plain = not isinstance(self._lora, OpenAdapters)
        """Whether it holds nothing but plain LoRAs."""
        self.architecture, self.dtypes = self._lora.architecture, self._lora.dtypes
        self._names = {same_name(name, self.architecture): name for name in self._lora.parts}
        self.shapes = {name: self._shape(own) for name, own in self._names.items()}
        """Module → shape of the weight that it changes."""

    def read(self, name: str) -> LoraModule:
        """One module. A LoHa's or LoKr's is the plain one that does exactly the same.

        Raises:
            LoraError: its numbers are not finite.
        """
        own = self._names[name]
        found = self._lora.read(own)
        return found if isinstance(found, LoraModule) else found.low_rank(kernel_of(own))

    def _shape(self, own: str) -> tuple[int, ...]:
        if not isinstance(self._lora, OpenAdapters):
            return self._lora.parts[own].shape
        adapter, kernel = self._lora.parts[own], kernel_of(own)
        if adapter.decomposed:
            raise LoraError(
                f"{self.name}: this is {self._lora.words}, whose change of a weight depends on the base, so it cannot "
                "be added to another or resized; merge it into its base (headcanon merge) and take the difference "
                "(headcanon lora extract)"
            )
        rows, columns = adapter.sides
        if columns % math.prod(kernel):
            raise LoraError(f"{self.name}: {own} has {columns} columns, which is no kernel of 3×3; the file is broken")
        return rows, columns // math.prod(kernel), *kernel


def shared_modules(sources: Sequence[Source]) -> list[str]:
    """Every module that one of the sources has, in order.

    Raises:
        LoraError: two sources are for different architectures.
    """
    known: dict[str, Source] = {}
    for number, source in enumerate(sources):
        for other in sources[:number]:
            _refuse_other(other, source)
        for name, shape in source.shapes.items():
            other = known.setdefault(name, source)
            if _sides(shape) != _sides(other.shapes[name]):
                raise LoraError(
                    f"{name} is for a weight of {_text(other.shapes[name])} in {other.name} and of {_text(shape)} in "
                    f"{source.name}; name LoRAs of one architecture"
                )
    return sorted(known)


def file_dtype(sources: Sequence[Source], precision: str) -> torch.dtype:
    """The dtype of a file made from others: as asked for, or for "auto" their own, float32 if they differ."""
    if precision in PRECISIONS:
        return PRECISIONS[precision]
    dtypes = frozenset[str]().union(*(source.dtypes for source in sources))
    return {frozenset({"F16"}): torch.float16, frozenset({"BF16"}): torch.bfloat16}.get(dtypes, torch.float32)


def _refuse_other(one: Source, other: Source) -> None:
    """Architectures that are only half known ("sd1 or sd2") fit what they may be."""
    both = one.architecture, other.architecture
    if "unknown" not in both and not (both[0] in both[1] or both[1] in both[0]):
        raise LoraError(
            f"{one.name} was trained on {one.architecture}, {other.name} on {other.architecture}; name LoRAs of one "
            "architecture"
        )


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """A linear layer and a 1×1 convolution are the same matrix."""
    return tuple(shape[:2]) if set(shape[2:]) <= {1} else tuple(shape)


def _text(shape: Sequence[int]) -> str:
    return "×".join(map(str, _sides(shape)))
