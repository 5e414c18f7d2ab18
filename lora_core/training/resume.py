"""The state of a training in one file, so that a run killed at any moment goes on to the same bytes.

One safetensors file: the LoRA's matrices and AdamW's moments in float32, and as JSON in its header where the run
stands. It is written under another name and renamed, so there is a whole state or the one before it, never half of one.
It lies in a folder named by the key of the step, so a state made from other inputs is never met.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lora_core.errors import TrainingError
from lora_core.lora.inject import LoraLayer
from lora_core.store import replacing

_HEADER = "headcanon_training"


@dataclass(frozen=True)
class Position:
    """Where a run stands.

    Attributes:
        epoch: of the next step, counted from 0.
        batch: of the next step within its epoch, counted from 0.
        losses: of every step so far.
        numerics: what last bits depend on (`device.numerics`), the thread count among them.
        scaler: state of the fp16 gradient scaler; empty without one.
    """

    epoch: int
    batch: int
    losses: tuple[float, ...]
    numerics: Mapping[str, str]
    scaler: Mapping[str, float]

    @property
    def step(self) -> int:
        """Steps done so far."""
        return len(self.losses)


def save_state(path: Path, position: Position, layers: Sequence[LoraLayer], optimizer: torch.optim.Optimizer) -> None:
    """Replace the state file by a new one, atomically.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    tensors = {}
    for name, matrix in _matrices(layers):
        tensors[name] = matrix.detach().cpu().contiguous()
        for kind, moment in optimizer.state.get(matrix, {}).items():
            tensors[f"{name}.{kind}"] = moment.detach().cpu().contiguous()
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={_HEADER: json.dumps(asdict(position))})


def read_position(path: Path) -> Position | None:
    """Where the run stands, or None if it has not begun.

    Raises:
        TrainingError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()[_HEADER])
        return Position(**{**fields, "losses": tuple(fields["losses"])})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error


def restore_state(path: Path, layers: Sequence[LoraLayer], optimizer: torch.optim.Optimizer) -> None:
    """Put the matrices and moments of a state file back in place.

    Raises:
        TrainingError: the file is damaged, or belongs to a LoRA of another shape.
    """
    trained = {id(matrix) for group in optimizer.param_groups for matrix in group["params"]}
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            for name, matrix in _matrices(layers):
                with torch.no_grad():
                    matrix.copy_(file.get_tensor(name))
                if id(matrix) in trained and f"{name}.exp_avg" in names:
                    optimizer.state[matrix] = {
                        kind: file.get_tensor(f"{name}.{kind}").clone().to(matrix.device)
                        for kind in ("step", "exp_avg", "exp_avg_sq")
                    }
    except (SafetensorError, RuntimeError) as error:
        raise _damaged(path) from error


def _matrices(layers: Sequence[LoraLayer]) -> Iterator[tuple[str, torch.nn.Parameter]]:
    for layer in layers:
        yield f"{layer.name}.down", layer.down
        yield f"{layer.name}.up", layer.up


def _damaged(path: Path) -> TrainingError:
    return TrainingError(
        f"{path}: the state of the training is damaged; delete this folder and run the same command again to start over"
    )
