"""LoRAs into one LoRA: weighted sums, differences, smaller ranks. Module by module, without any base."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_core.digests import file_digest
from lora_core.errors import LoraError
from lora_core.lora import header
from lora_core.lora.algebra import Cut, Size, concatenated, cut, energy, whole_cut, without_mid
from lora_core.lora.file import LoraModule, add_module
from lora_core.lora.settle import note, refuse_taken, settling
from lora_core.lora.spool import Spool
from lora_core.lora.terms import Source, Term, file_dtype, shared_modules
from lora_core.progress import Progress


@dataclass(frozen=True)
class Made:
    """What a tool wrote."""

    modules: int
    ranks: tuple[int, ...]
    """Each once, in order."""
    energy: float
    """Share of the whole's energy, the squared singular values of all modules, that was kept."""

    def __str__(self) -> str:
        """For a person."""
        ranks = f"{self.ranks[0]}" if len(self.ranks) == 1 else f"{self.ranks[0]} to {self.ranks[-1]}"
        return f"{self.modules} modules, rank {ranks}, {self.energy:.2%} of the energy kept"


def add(terms: Sequence[Term], out: Path, size: Size, precision: str, progress: Progress) -> Made:
    """The weighted sum of LoRAs as one LoRA.

    Without a size the sum is exact and its rank the sum of the ranks. Memory holds one module at a time, and equal
    inputs give equal bytes.

    Args:
        terms: LoRAs of one architecture with their weights.
        out: the file to write.
        size: to cut the sum back to.
        precision: "fp16", "bf16", "fp32", or "auto" for the sources' own (fp32 if they differ).
        progress: told after every module.

    Raises:
        LoraError: a source is not readable, they are for different architectures, or nothing would be left.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    used = [term for term in terms if term.weight]
    if not used:
        raise LoraError("every weight is 0, so nothing would be left; give one LoRA another weight")
    return _combine("add", used, out, size, precision, progress)


def subtract(whole: Term, part: Term, out: Path, size: Size, precision: str, progress: Progress) -> Made:
    """A LoRA minus another. With `whole` it draws what `whole` alone draws and `part` does not.

    Arguments and errors as `add`; two equal files are refused too.
    """
    if file_digest(whole.path) == file_digest(part.path):
        raise LoraError(f"{whole.path} and {part.path} are the same LoRA, so nothing would be left; name another")
    return _combine("subtract", [whole, Term(part.path, -part.weight, part.name)], out, size, precision, progress)


def resize(source: Term, out: Path, size: Size, precision: str, progress: Progress) -> Made:
    """A LoRA at a smaller rank, as near to the larger one as can be; alpha / rank stays as it is.

    A module that is no larger than asked for stays as it is, to the bit. Arguments and errors as `add`.
    """
    if size.exact:
        raise LoraError("resize needs a rank or an energy to keep; give one of them")
    return _combine("resize", [source], out, size, precision, progress)


def _combine(how: str, terms: Sequence[Term], out: Path, size: Size, precision: str, progress: Progress) -> Made:
    sources = [Source(term) for term in terms]
    modules, plain = shared_modules(sources), all(source.plain for source in sources)
    dtype = file_dtype(sources, precision)
    digests = [{"sha256": file_digest(term.path), "weight": term.weight} for term in terms]
    made = note(how=how, sources=digests, rank=size.rank, energy=size.energy)
    refuse_taken(out, header.MADE, made)
    network, kept, total = header.Network(), 0.0, 0.0
    with settling(out) as path, Spool(path, str(out)) as spool:
        for done, name in enumerate(modules, 1):
            found = [(source.read(name), source.weight) for source in sources if name in source.shapes]
            result = _sum(found, size, plain)
            add_module(spool, name, result.module, dtype)
            network.add(result.module)
            kept, total = kept + result.kept, total + result.total
            progress(done, len(modules), name)
        metadata = (header.of_one if how == "resize" else header.of_many)(sources, out.stem, network, made)
        spool.write(metadata, hashes=True)
    return Made(network.modules, network.ranks, kept / total if total else 1.0)


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
