"""Taggers in WD14's format, run by onnxruntime. The contract: docs of SmilingWolf's wd-v1-4 and wd v3 taggers.

Input NHWC, float32, BGR, 0 to 255, square with white padding; output one probability a label.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from lora_core.dataset import Entry, Manifest, Scores, TagTable
from lora_core.errors import TaggerError
from lora_core.progress import Progress, silent
from lora_core.store import Store, canonical_json, digest_of
from lora_core.tagging.labels import GENERAL, RATING, Label, fitted, read_labels

FLOOR = 0.05
# Raised when what comes out changes.
_TAG_VERSION = 1
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
        model, table = _parts(files)
        labels = read_labels(table)
        try:
            session = onnxruntime.InferenceSession(str(model), providers=_providers(device))
        except Exception as error:  # onnxruntime raises a type of its own for every way a file can be wrong
            raise TaggerError(f"{model}: not a model that onnxruntime can run ({_first_line(error)})") from error
        side_px, fixed = _input_of(session, model)
        outputs = session.get_outputs()[0].shape[-1]
        if not isinstance(outputs, int):
            outputs = _run(session, np.zeros((fixed or 1, side_px, side_px, 3), dtype=np.float32)).shape[-1]
        return cls(session, fitted(labels, outputs, str(model)), side_px, fixed or _BATCH, fixed > 0)

    def probabilities(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """One row a picture, one column a label.

        Args:
            images: any number, any size and mode; transparent counts as white.

        Returns:
            Shape (N, labels), in [0, 1].

        Raises:
            TaggerError: what comes out are no probabilities.
        """
        rows = []
        for start in range(0, len(images), self.batch):
            batch = np.stack([as_input(image, self.side_px) for image in images[start : start + self.batch]])
            missing = self.batch - len(batch) if self.fixed else 0
            full = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), dtype=np.float32)])
            rows.append(_run(self.session, full)[: len(batch)])
        found = np.concatenate(rows) if rows else np.zeros((0, len(self.labels)), dtype=np.float32)
        if not np.isfinite(found).all() or (found.size and (found.min() < -1e-3 or found.max() > 1.001)):
            raise TaggerError(
                f"the tagger answers with {found.min():.3g} to {found.max():.3g}, not with probabilities; "
                "use a model in WD14's format, whose output is a sigmoid's"
            )
        return found

    def scores(self, images: Sequence[Image.Image], floor: float = FLOOR) -> tuple[Scores, ...]:
        """Everything at or above `floor`, one record a picture: ratings, general tags, names."""
        return tuple(self._record(row, floor) for row in self.probabilities(images))

    def _record(self, row: NDArray[np.float32], floor: float) -> Scores:
        parts: dict[str, dict[str, float]] = {RATING: {}, GENERAL: {}, "names": {}}
        for index in np.flatnonzero(row >= floor):
            label = self.labels[index]
            if label.name:
                part = label.category if label.category in parts else "names"
                parts[part][label.name] = min(1.0, round(float(row[index]), _DIGITS))
        return Scores(rating=parts[RATING], general=parts[GENERAL], character=parts["names"])


def tag(
    store: Store,
    manifest: Manifest,
    files: Mapping[str, Path],
    progress: Progress = silent,
    floor: float = FLOOR,
    device: str = "auto",
) -> TagTable:
    """Raw scores of every picture; those that this tagger has read before come from the store.

    Args:
        store: where pictures and their records are.
        manifest: the pictures.
        files: model.onnx and selected_tags.csv.
        progress: told after every picture.
        floor: scores below are not kept; well below any threshold, so that moving one never runs the tagger again.
        device: see `Tagger.load`.

    Raises:
        TaggerError: see `Tagger.load`.
    """
    model = digest_of(canonical_json([store.digest_of_file(path) for path in _parts(files)]))
    keys = {
        entry.image: digest_of(canonical_json(["tag", _TAG_VERSION, entry.image, model, floor]))
        for entry in manifest.entries
    }
    known = {image: store.record(key) for image, key in keys.items()}
    images = {image: Scores.model_validate(record) for image, record in known.items() if record is not None}
    missing = list({entry.image: entry for entry in manifest.entries if entry.image not in images}.values())
    done = len(manifest.entries) - len(missing)
    progress(done, len(manifest.entries))
    if missing:
        tagger = Tagger.load(files, device)
        for entries in _batches(missing, tagger.batch):
            pictures = [_picture(store, entry) for entry in entries]
            for entry, scores in zip(entries, tagger.scores(pictures, floor), strict=True):
                store.set_record(keys[entry.image], scores.model_dump(mode="json"))
                images[entry.image] = scores
                done += 1
                progress(done, len(manifest.entries), entry.name)
    return TagTable(model=model, floor=floor, images=images)


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


def _parts(files: Mapping[str, Path]) -> tuple[Path, Path]:
    missing = [name for name in ("model.onnx", "selected_tags.csv") if name not in files or not files[name].is_file()]
    if missing:
        raise TaggerError(f"the tagger lacks {' and '.join(missing)}; a WD14 tagger is these two files in one folder")
    return files["model.onnx"], files["selected_tags.csv"]


def _providers(device: str) -> list[str]:
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


def _batches(entries: list[Entry], size: int) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]


def _picture(store: Store, entry: Entry) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(store.get_bytes(entry.image)))
        image.load()
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise TaggerError(
            f"{entry.source}: cannot be read ({_first_line(error)}); preprocess the folder first"
        ) from error
    return image


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
