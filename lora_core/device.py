"""The accelerator door: which device, which number format, where randomness comes from, how much memory it takes."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from lora_core.errors import RecipeError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        RecipeError: the name is unknown, or this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind = name.split(":")[0]
    if kind not in available:
        raise RecipeError(f"device {name!r} is unknown; known: auto, cpu, cuda, mps")
    if not available[kind]:
        raise RecipeError(f"device {name!r}: torch sees none on this machine; use 'auto' or 'cpu'")
    return torch.device(name)


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The number format of frozen weights; "auto" is bfloat16 on a GPU that has it and float32 elsewhere.

    Raises:
        RecipeError: the name is unknown, or fp16 was asked for on a CPU.
    """
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    if precision not in _DTYPES:
        raise RecipeError(f"precision {precision!r} is unknown; known: auto, {', '.join(_DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError("precision 'fp16' needs a GPU; on a CPU use 'auto', 'fp32' or 'bf16'")
    return _DTYPES[precision]


def counter_seed(*counters: int) -> int:
    """The first 63 bits of the SHA-256 of the counters as text, so that neighbours give unrelated streams."""
    digest = hashlib.sha256(",".join(str(int(counter)) for counter in counters).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def counter_generator(*counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream depends on the counters alone, such as (seed, epoch, position).

    On the CPU, as it is unless said otherwise, the numbers are the same whatever the device of the models.
    """
    return torch.Generator(device).manual_seed(counter_seed(*counters))


def set_kernels(device: torch.device, *, deterministic: bool) -> None:
    """Say which kernels torch may choose in this process.

    On the CPU always the same ones, for byte-identical training after a resume, and elsewhere if `deterministic`; else
    CUDA takes the fastest, with TF32 (10 bits of mantissa) for float32 matrices.

    On CUDA determinism needs a setting of cuBLAS' that only takes effect before its first use in the process.
    """
    exact = deterministic or device.type == "cpu"
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    torch.use_deterministic_algorithms(exact, warn_only=True)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = exact
        torch.backends.cudnn.allow_tf32 = not exact
        torch.set_float32_matmul_precision("highest" if exact else "high")
        if exact:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def keep_compiled_in(folder: Path) -> None:
    """Let `torch.compile` keep its kernels in a folder, so that the next process finds them.

    Who set TORCHINDUCTOR_CACHE_DIR already has chosen another folder.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def is_synchronous(device: torch.device) -> bool:
    """Whether reading a number costs nothing; a GPU stands still until it is asked for more."""
    return device.type != "cuda"


def capturing(device: torch.device) -> bool:
    """Whether what is launched now is recorded as a CUDA graph instead of run."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def memory_format(device: torch.device) -> torch.memory_format:
    """How pictures' channels lie in memory where convolutions are fastest: last on CUDA's tensor cores."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def numerics() -> dict[str, str]:
    """What the last bits of a result depend on besides the inputs.

    Sums are split among threads, so another thread count gives other last bits; a trainer keeps this beside its state,
    goes on with the same thread count (`use_threads`) and says so when the rest differs.
    """
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def use_threads(count: int) -> None:
    """Compute with this many threads on the CPU."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


_USABLE_SHARE = 0.9
"""Of a card's memory; CUDA itself and what is lost between blocks take the rest."""


def card_bytes(device: torch.device) -> int | None:
    """Memory that a training can use on a GPU of its own, in bytes; None: the device is no such card."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory * _USABLE_SHARE)


def size_bytes(parameters: Iterable[torch.Tensor]) -> int:
    """Memory that tensors take, in bytes; tensors on the meta device count as if they were real."""
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def training_memory_bytes(
    frozen: Iterable[nn.Module], trained_bytes: int, *, pixels: int, batch: int, width: int, saved_maps: float
) -> int:
    """A rough estimate of what training takes, in bytes, to be told before it starts.

    Args:
        frozen: the models that stay as they are, in the dtype they are held in; the U-Net first.
        trained_bytes: of the trained numbers, with their gradients and what the optimizer keeps of them.
        pixels: of one picture, width times height.
        batch: pictures a step.
        width: channels of the U-Net's first level (320 for SD1.5).
        saved_maps: what autograd keeps of one picture for the backward pass, in maps of the U-Net's first level (an
            eighth of the side) in its dtype.
    """
    models = list(frozen)
    weights = sum(size_bytes(model.parameters()) for model in models)
    number_bytes = next(parameter.element_size() for parameter in models[0].parameters())
    activations = batch * (pixels // 64) * width * saved_maps * number_bytes
    return weights + trained_bytes + int(activations)
