"""LoRAs into one LoRA: weighted sums, differences, smaller ranks. Module by module, without any base."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_core.errors import LoraError
from lora_core.lora.algebra import Cut, Size, concatenated, cut, energy, whole_cut
from lora_core.lora.file import OpenLora, add_module, open_lora
from lora_core.lora.metadata import MADE, RankCounts, of_many, of_one
from lora_core.lora.module import LoraModule, without_mid
from lora_core.lora.naming import kernel_of, same_name
from lora_core.lora.tensor_files import SafetensorsWriter, new_output, note, refuse_existing
from lora_core.progress import Progress
from lora_core.store.digests import file_digest

PRECISIONS: Mapping[str, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Term:
    """A LoRA file and its weight in a sum."""

    path: Path
    weight: float = 1.0
    name: str = ""
    """The name in messages; the path if empty."""

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


@dataclass(frozen=True)
class LoraSummary:
    """The size of a LoRA that a tool wrote."""

    modules: int
    ranks: tuple[int, ...]
    """Each once, in order."""
    energy: float
    """Share of the whole's energy, the squared singular values of all modules, that was kept."""
    left_out: int = 0
    """Norms and biases that differ too, which no LoRA holds."""

    def __str__(self) -> str:
        """For a person."""
        ranks = f"{self.ranks[0]}" if len(self.ranks) == 1 else f"{self.ranks[0]} to {self.ranks[-1]}"
        left_out = f"; {self.left_out} norms and biases differ too, which a LoRA does not hold" if self.left_out else ""
        return f"{self.modules} modules, rank {ranks}, {self.energy:.2%} of the energy kept{left_out}"


def add(terms: Sequence[Term], out: Path, size: Size, precision: str, progress: Progress) -> LoraSummary:
    """The weighted sum of LoRAs as one LoRA.

    Without a size the sum is exact and its rank the sum of the ranks. Memory holds one module at a time, and equal
    inputs give equal bytes.

    Args:
        terms: LoRAs of one architecture with their weights.
        out: the file to write.
        size: to cut the sum back to.
        precision: "fp16", "bf16", "fp32", or "auto" for the sources' own (fp32 if they differ).
        progress: called after every module.

    Raises:
        LoraError: a source is not readable, they are for different architectures, or nothing would be left.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    used = [term for term in terms if term.weight]
    if not used:
        raise LoraError("every weight is 0, so nothing would be left; give one LoRA another weight")
    return _combine("add", used, out, size, precision, progress)


def subtract(whole: Term, part: Term, out: Path, size: Size, precision: str, progress: Progress) -> LoraSummary:
    """A LoRA minus another. With `whole` it draws what `whole` alone draws and `part` does not.

    Arguments and errors as `add`; two equal files are refused too.
    """
    if file_digest(whole.path) == file_digest(part.path):
        raise LoraError(f"{whole.path} and {part.path} are the same LoRA, so nothing would be left; name another")
    return _combine("subtract", [whole, Term(part.path, -part.weight, part.name)], out, size, precision, progress)


def resize(source: Term, out: Path, size: Size, precision: str, progress: Progress) -> LoraSummary:
    """A LoRA at a smaller rank, as near to the larger one as can be; alpha / rank stays as it is.

    A module that is no larger than asked for stays as it is, to the bit. Arguments and errors as `add`.
    """
    if size.exact:
        raise LoraError("resize needs a rank or an energy to keep; give one of them")
    return _combine("resize", [source], out, size, precision, progress)


def _combine(how: str, terms: Sequence[Term], out: Path, size: Size, precision: str, progress: Progress) -> LoraSummary:
    opened = [open_lora(term.path, term.name) for term in terms]
    architecture = next((lora.architecture for lora in opened if " or sdxl" not in lora.architecture), "sd1 or sdxl")
    sources = [_Source(lora, term.weight, architecture) for lora, term in zip(opened, terms, strict=True)]
    modules, plain = _shared_modules(sources), all(source.plain for source in sources)
    dtype = _file_dtype(sources, precision)
    digests = [{"sha256": file_digest(term.path), "weight": term.weight} for term in terms]
    made = note(how=how, sources=digests, rank=size.rank, energy=size.energy)
    refuse_existing(out, MADE, made)
    ranks, kept, total = RankCounts(), 0.0, 0.0
    with new_output(out) as path, SafetensorsWriter(path, str(out)) as writer:
        for done, name in enumerate(modules, 1):
            found = [(source.read(name), source.weight) for source in sources if name in source.shapes]
            result = _sum(found, size, plain)
            add_module(writer, name, result.module, dtype)
            ranks.add(result.module)
            kept, total = kept + result.kept, total + result.total
            progress(done, len(modules), name)
        headers = [(source.metadata, source.weight) for source in sources]
        metadata = (of_one if how == "resize" else of_many)(headers, out.stem, ranks, made)
        writer.write(metadata, hashes=True)
    return LoraSummary(ranks.modules, ranks.ranks, kept / total if total else 1.0)


def _sum(terms: Sequence[tuple[LoraModule, float]], size: Size, plain: bool) -> Cut:
    """One module of the sum; what need not be cut is not.

    Args:
        terms: modules with their weights.
        size: to cut to.
        plain: whether all were plain LoRAs. What a LoKr becomes is mostly of its weight's own rank, and is cut the way
            a whole weight is, which is many times faster.
    """
    (first, weight), *rest = terms
    module = first if weight == 1 and not rest else concatenated(terms)
    if not size.energy and not 0 < size.rank < module.rank:
        whole = energy(module)
        return Cut(module, whole, whole)
    if not plain and size.rank and module.rank >= min(module.up.shape[0], module.down[0].numel()):
        return whole_cut(module, size)
    return cut(without_mid(module), size)


# ── the sources of a sum ─────────────────────────────────────────────────────────────────────────────────────────────


class _Source:
    """A term whose file is open. It is read as plain LoRAs, whatever kind is in the file."""

    def __init__(self, lora: OpenLora, weight: float, naming: str) -> None:
        """Find the weights that it changes; `naming` is the architecture by whose names they go.

        Raises:
            LoraError: it is a DoRA, or changes norms or biases.
        """
        self._lora = lora
        self.name, self.weight, self.metadata = lora.name, weight, lora.metadata
        self.plain, self.architecture, self.dtypes = lora.is_plain, lora.architecture, lora.dtypes
        self._names = {same_name(name, naming): name for name in lora.modules}
        self.shapes = {name: self._shape(own) for name, own in self._names.items()}
        """Module → shape of the weight that it changes."""

    def read(self, name: str) -> LoraModule:
        """One module. A LoHa's or LoKr's is the plain one that does exactly the same.

        Raises:
            LoraError: a number is not finite.
        """
        own = self._names[name]
        module = self._lora.read(own)
        return module if self.plain else module.low_rank(kernel_of(own))

    def _shape(self, own: str) -> tuple[int, ...]:
        module, kernel = self._lora.modules[own], kernel_of(own)
        if self.plain:
            return module.shape
        if module.decomposed:
            raise LoraError(
                f"{self.name}: this is {self._lora.title}, whose change of a weight depends on the base, so it cannot "
                "be added to another or resized; merge it into its base (headcanon merge) and take the difference "
                "(headcanon lora extract)"
            )
        if module.changes_vector:
            raise LoraError(
                f"{self.name}: this is {self._lora.title}, and norms and biases have no rank, so it cannot be added to "
                "another or resized; merge it into its base (headcanon merge)"
            )
        rows, columns = module.shape[0], math.prod(module.shape[1:])
        if columns % math.prod(kernel):
            raise LoraError(f"{self.name}: {own} has {columns} columns, which is no kernel of 3×3; the file is broken")
        return rows, columns // math.prod(kernel), *kernel


def _shared_modules(sources: Sequence[_Source]) -> list[str]:
    """Every module that one of the sources has, in order.

    Raises:
        LoraError: two sources are for different architectures.
    """
    known: dict[str, _Source] = {}
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


def _file_dtype(sources: Sequence[_Source], precision: str) -> torch.dtype:
    """The dtype of a file made from others: as asked for, or for "auto" their own, float32 if they differ."""
    if precision in PRECISIONS:
        return PRECISIONS[precision]
    dtypes = frozenset[str]().union(*(source.dtypes for source in sources))
    return {frozenset({"F16"}): torch.float16, frozenset({"BF16"}): torch.bfloat16}.get(dtypes, torch.float32)


def _refuse_other(one: _Source, other: _Source) -> None:
    """Architectures that are only half known ("sd1 or sd2") fit what they may be."""
    both = [set(each.architecture.split(" or ")) for each in (one, other)]
    if {"unknown"} not in both and not both[0] & both[1]:
        raise LoraError(
            f"{one.name} was trained on {one.architecture}, {other.name} on {other.architecture}; name LoRAs of one "
            "architecture"
        )


def _sides(shape: Sequence[int]) -> tuple[int, ...]:
    """A linear layer and a 1×1 convolution are the same matrix."""
    return tuple(shape[:2]) if set(shape[2:]) <= {1} else tuple(shape)


def _text(shape: Sequence[int]) -> str:
    return "×".join(map(str, _sides(shape)))
