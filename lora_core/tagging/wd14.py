"""Taggers in WD14's format, run by onnxruntime. The contract: docs of SmilingWolf's wd-v1-4 and wd v3 taggers.

Input NHWC, float32, BGR, 0 to 255, square with white padding; output one probability a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.dataset import Scores
from lora_core.errors import TaggerError
from lora_core.tagging.labels import GENERAL, RATING, Label, fitted, read_labels

FLOOR = 0.05
# A tagger of ViT or swin size is no faster on a CPU with more; on a GPU this is where the gain flattens.
_BATCH = 8
# Scores are kept to this many digits: the last bits differ between batch sizes and processors.
_DIGITS = 5
# The side where a model leaves it open; every published WD14 tagger has this one.
_USUAL_SIDE_PX = 448


@dataclass(frozen=True)
class Tagger:
    """A tagger that is ready to read pictures.

    Attributes:
        session: onnxruntime's.
        labels: one an output.
        side_px: of the square input.
        batch: most pictures at once.
        fixed: whether the model takes exactly that many, never fewer.
    """

    session: Any
    labels: tuple[Label, ...]
    side_px: int
    batch: int
    fixed: bool

    @classmethod
    def load(cls, files: Mapping[str, Path], device: str = "auto") -> "Tagger":
        """Open model.onnx and selected_tags.csv.

        Args:
            files: those two names → where they are.
            device: `auto` and `cuda` take a GPU if onnxruntime can; `cpu` never does.

        Raises:
            TaggerError: a file is missing or unreadable, or the two do not belong together.
        """
        model, table = parts(files)
        labels = read_labels(table)
        try:
            import onnxruntime  # where a picture is tagged, and not by a plan or a cached run

            session = onnxruntime.InferenceSession(str(model), providers=_providers(device))
        except Exception as error:  # onnxruntime raises a type of its own for every way a file can be wrong
            raise TaggerError(f"{model}: not a model that onnxruntime can run ({first_line(error)})") from error
        side_px, fixed = _input_of(session, model)
        outputs = session.get_outputs()[0].shape[-1]
        if not isinstance(outputs, int):
            outputs = _run(session, np.zeros((fixed or 1, side_px, side_px, 3), dtype=np.float32)).shape[-1]
        return cls(session, fitted(labels, outputs, str(model)), side_px, fixed or _BATCH, fixed > 0)

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs beside the processor."""
        return bool(self.session.get_providers()[0] != "CPUExecutionProvider")

    def prepared(self, image: Image.Image) -> NDArray[np.float32]:
        """A picture of any size and mode as this model wants it: see `as_input`."""
        return as_input(image, self.side_px)

    def probabilities(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """One row a picture, one column a label.

        Args:
            inputs: any number of `prepared` pictures.

        Returns:
            Shape (N, labels), in [0, 1].

        Raises:
            TaggerError: what comes out are no probabilities.
        """
        rows = []
        for start in range(0, len(inputs), self.batch):
            batch = inputs[start : start + self.batch]
            missing = self.batch - len(batch) if self.fixed else 0
            full = np.stack([*batch, *[np.zeros_like(batch[0])] * missing])
            rows.append(_run(self.session, full)[: len(batch)])
        found = np.concatenate(rows) if rows else np.zeros((0, len(self.labels)), dtype=np.float32)
        if not np.isfinite(found).all() or (found.size and (found.min() < -1e-3 or found.max() > 1.001)):
            raise TaggerError(
                f"the tagger answers with {found.min():.3g} to {found.max():.3g}, not with probabilities; "
                "use a model in WD14's format, whose output is a sigmoid's"
            )
        return found

    def scores(self, inputs: Sequence[NDArray[np.float32]], floor: float = FLOOR) -> tuple[Scores, ...]:
        """Everything at or above `floor`, one record for every `prepared` picture: ratings, general tags, names."""
        return tuple(self._record(row, floor) for row in self.probabilities(inputs))

    def _record(self, row: NDArray[np.float32], floor: float) -> Scores:
        kept: dict[str, dict[str, float]] = {RATING: {}, GENERAL: {}, "names": {}}
        for index in np.flatnonzero(row >= floor):
            label = self.labels[index]
            if label.name:
                part = label.category if label.category in kept else "names"
                kept[part][label.name] = min(1.0, round(float(row[index]), _DIGITS))
        return Scores(rating=kept[RATING], general=kept[GENERAL], character=kept["names"])


def as_input(image: Image.Image, side_px: int) -> NDArray[np.float32]:
    """A picture as the model wants it: white behind and around it, square, BGR.

    Returns:
        Shape (side, side, 3), float32, 0 to 255.
    """
    if image.mode != "RGB":
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image.alpha_composite(rgba)
        image = image.convert("RGB")
    longest = max(image.size)
    if image.size != (longest, longest):
        square = Image.new("RGB", (longest, longest), (255, 255, 255))
        square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
        image = square
    if longest != side_px:
        image = image.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image)[..., ::-1], dtype=np.float32)


def parts(files: Mapping[str, Path]) -> tuple[Path, Path]:
    """A tagger's model and label table.

    Raises:
        TaggerError: one of them is missing.
    """
    missing = [name for name in ("model.onnx", "selected_tags.csv") if name not in files or not files[name].is_file()]
    if missing:
        raise TaggerError(f"the tagger lacks {' and '.join(missing)}; a WD14 tagger is these two files in one folder")
    return files["model.onnx"], files["selected_tags.csv"]


def _providers(device: str) -> list[str]:
    import onnxruntime

    wanted = ["CPUExecutionProvider"] if device == "cpu" else ["CUDAExecutionProvider", "CPUExecutionProvider"]
    there = onnxruntime.get_available_providers()
    return [provider for provider in wanted if provider in there]


def _input_of(session: Any, model: Path) -> tuple[int, int]:
    """Side in pixels, and the batch where the model fixes it (0: free)."""
    shape = session.get_inputs()[0].shape
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise TaggerError(f"{model}: takes input of shape {shape}; a WD14 tagger takes (batch, side, side, 3)")
    side_px = shape[1] if isinstance(shape[1], int) else _USUAL_SIDE_PX
    return side_px, shape[0] if isinstance(shape[0], int) else 0


def _run(session: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return found


def first_line(error: Exception) -> str:
    """What another library's error says, short."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]
