"""An auxiliary classifier of the look: an ONNX file beside a list of its classes.

The format is that of deepghs' classifiers (imgutils): `model.onnx`, NCHW, RGB, 0 to 1 shifted by 0.5 and divided by
0.5, output one probability a class; `meta.json` with the classes in order under `labels`.
"""

import functools
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.bounded import MODEL_BYTES, TEXT_BYTES, check_size, json_of, read_bounded
from lora_core.dataset import Manifest
from lora_core.errors import TaggerError
from lora_core.memo import memo, memo_key
from lora_core.progress import Progress, silent
from lora_core.store import Store

MODEL_FILE, META_FILE = "model.onnx", "meta.json"
_SIDE_PX = 384


def class_probabilities(
    store: Store, manifest: Manifest, files: Mapping[str, Path], label: str, progress: Progress = silent
) -> Mapping[str, float]:
    """The probability of one class for every picture, by digest; a picture is read once by each classifier.

    Raises:
        TaggerError: the files are no such classifier, or it does not know the class.
    """
    column = _column(files[META_FILE], label)
    model = store.digest_of_file(files[MODEL_FILE])
    found: dict[str, float] = {}
    session = functools.cache(_session)

    def classes(image: str) -> list[float]:
        return _probabilities(session(files[MODEL_FILE]), Image.open(BytesIO(store.get_bytes(image))))

    for done, entry in enumerate(manifest.entries, start=1):
        key = memo_key("picture class", model, entry.image)
        known = memo(store, key, list[float], functools.partial(classes, entry.image))
        if len(known) <= column:
            raise TaggerError(f"{files[META_FILE]}: names more classes than {MODEL_FILE} has outputs ({len(known)})")
        found[entry.image] = known[column]
        progress(done, len(manifest.entries))
    return found


def find_classifier_files(folder: Path) -> dict[str, Path]:
    """A classifier's two files.

    Raises:
        TaggerError: one is missing.
    """
    files = {name: folder / name for name in (MODEL_FILE, META_FILE)}
    for path in files.values():
        if not path.is_file():
            raise TaggerError(
                f"{path}: there is no such file; [judging] classifier wants a folder with {MODEL_FILE} and {META_FILE}"
            )
    return files


def _column(meta: Path, label: str) -> int:
    try:
        labels = list(json_of(read_bounded(meta, TEXT_BYTES, TaggerError))["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TaggerError(f"{meta}: holds no readable list `labels` of the classes ({error})") from error
    if label not in labels:
        raise TaggerError(f"{meta}: knows no class {label!r}; it knows {', '.join(map(str, labels))}")
    return int(labels.index(label))


def _session(model: Path) -> Any:
    import onnxruntime

    check_size(model, MODEL_BYTES, TaggerError)
    try:
        return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for every way a file can be wrong
        raise TaggerError(f"{model}: not a model that onnxruntime can run ({type(error).__name__})") from error


def _probabilities(session: Any, picture: Image.Image) -> list[float]:
    wanted = session.get_inputs()[0]
    side = wanted.shape[2] if isinstance(wanted.shape[2], int) else _SIDE_PX
    small = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values: NDArray[np.float32] = np.asarray(small, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return [float(value) for value in session.run(None, {wanted.name: values})[0][0]]
