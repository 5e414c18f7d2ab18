"""Whether pictures show one character, by CCIP (Contrastive Anime Character Image Pre-Training) as deepghs ships it.

One model of https://huggingface.co/deepghs/ccip_onnx is a folder: `model_feat.onnx` makes a vector of a picture, RGB
squeezed to 384×384 (bilinear), with CLIP's mean and deviation; `model_metrics.onnx` gives the differences of every two
of several vectors; `metrics.json` holds under `threshold` the difference up to which two pictures show one character
(.178 for ccip-caformer-24-randaug-pruned). As in dghs-imgutils' `imgutils.metrics.ccip`.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.bounded import MODEL_BYTES, TEXT_BYTES, check_size, json_of, read_bounded
from lora_core.dataset import Manifest
from lora_core.errors import TaggerError
from lora_core.judging.onnx_models import CLIP_MEAN, CLIP_STD, open_session
from lora_core.progress import Progress, silent
from lora_core.sampling.samples import Samples
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.memo import memo, memo_key

CHARACTER = "character/"
"""Where CCIP's files stand among an embedder's: recipes without it keep the keys that they had."""
_FEATURES, _DIFFERENCES, _METRICS = "model_feat.onnx", "model_metrics.onnx", "metrics.json"
_SIDE_PX = 384
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Recognized:
    """How often samples show the character of the screenshots.

    Attributes:
        model: digest of CCIP's files.
        share: sample's image digest → the share of the screenshots with which it shows one character.
    """

    model: str
    share: Mapping[str, float]


def find_character_files(folder: Path) -> dict[str, Path]:
    """CCIP's three files.

    Args:
        folder: with them, or with the one folder that has them.

    Raises:
        TaggerError: one is missing.
    """
    inside = [path.parent for path in folder.glob(f"*/{_FEATURES}")]
    folder = inside[0] if len(inside) == 1 and not (folder / _FEATURES).is_file() else folder
    files = {name: folder / name for name in (_FEATURES, _DIFFERENCES, _METRICS)}
    for path in files.values():
        if not path.is_file():
            raise TaggerError(
                f"{path}: there is no such file; [judging] character_model wants a folder with {', '.join(files)}, as "
                "in deepghs/ccip_onnx"
            )
        check_size(path, MODEL_BYTES, TaggerError)
    return files


def recognize(
    store: Store, samples: Samples, training: Manifest, files: Mapping[str, Path], progress: Progress = silent
) -> Recognized:
    """Compare every sample with every screenshot; a picture is read once by each model.

    Raises:
        TaggerError: the files are no such model.
    """
    model = digest_of(canonical_json([[name, store.digest_of_file(files[name])] for name in sorted(files)]))
    threshold = _threshold(files[_METRICS])
    session = functools.cache(open_session)
    images = list(dict.fromkeys(sample.image for sample in samples.samples))
    total = len(images) + len(training.entries)

    def vector(number: int, image: str) -> Vector:
        def read() -> str:
            with Image.open(BytesIO(store.get_bytes(image))) as picture:
                vectors = _run(session(files[_FEATURES]), _input(picture), files[_FEATURES])
            return str(vectors[0].astype("<f4").tobytes().hex())

        found = memo(store, memo_key("picture character", model, image), str, read)
        progress(number, total)
        return np.frombuffer(bytes.fromhex(found), dtype="<f4")

    shots = [vector(number, entry.image) for number, entry in enumerate(training.entries, start=1)]
    if not shots:
        return Recognized(model, {})

    def share(number: int, image: str) -> float:
        together = np.stack([vector(number, image), *shots])
        differences = _run(session(files[_DIFFERENCES]), together, files[_DIFFERENCES])
        if differences.shape != (len(together), len(together)):
            raise TaggerError(f"{files[_DIFFERENCES]}: answers with {differences.shape}, not every two's difference")
        return float(np.mean(differences[0, 1:] <= threshold))

    return Recognized(model, {image: share(n, image) for n, image in enumerate(images, start=len(shots) + 1)})


def _threshold(metrics: Path) -> float:
    try:
        return float(json_of(read_bounded(metrics, TEXT_BYTES, TaggerError))["threshold"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TaggerError(f"{metrics}: holds no number `threshold` ({error})") from error


def _input(picture: Image.Image) -> Vector:
    """(1, 3, 384, 384)."""
    small = picture.convert("RGB").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BILINEAR)
    values = (np.asarray(small, dtype=np.float32) / 255 - CLIP_MEAN) / CLIP_STD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)


def _run(session: Any, values: Vector, path: Path) -> Vector:
    try:
        found: Vector = session.run(None, {session.get_inputs()[0].name: values})[0]
    except Exception as error:  # onnxruntime raises a type of its own for every way a model can fail
        from lora_core.tagging.wd14 import first_line  # needs onnxruntime, and so not before this one does

        raise TaggerError(f"{path}: is not CCIP's ({first_line(error)})") from error
    if not np.isfinite(found).all():
        raise TaggerError(f"{path}: answers with a number that is not finite")
    return found
