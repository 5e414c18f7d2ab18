"""Auxiliary models that read samples, as ONNX files: a classifier of the look, and an image encoder.

Classifier: the format of deepghs' classifiers (imgutils): `model.onnx`, NCHW, RGB, 0 to 1 shifted by 0.5 and divided by
0.5, output one probability a class; `meta.json` with the classes in order under `labels`.

Encoder: CLIP's, or any other that answers with one vector a picture. Input NCHW or NHWC, RGB, float32, made as
`preprocessor_config.json` beside the model says; without one as CLIP's own (https://github.com/openai/CLIP,
`_transform`). Output `image_embeds` or `embeddings`, else the first of two dimensions.
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
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt, ValidationError

from lora_core.bounded import MODEL_BYTES, TEXT_BYTES, check_size, json_of, read_bounded
from lora_core.dataset import Manifest
from lora_core.errors import TaggerError
from lora_core.hub.formats import refuse_foreign
from lora_core.progress import Progress, silent
from lora_core.store import Store
from lora_core.store.memo import memo, memo_key

MODEL_FILE, META_FILE, CONFIG_FILE = "model.onnx", "meta.json", "preprocessor_config.json"
# transformers.js keeps the models of a repository in onnx/, and the image half of CLIP under a name of its own.
_MODELS = ("vision_model.onnx", "model.onnx", "onnx/vision_model.onnx", "onnx/model.onnx")
_OUTPUTS = ("image_embeds", "embeddings")
_CLASSIFIER_SIDE_PX = 384
_ENCODER_SIDE_PX = 224
_RGB = 3
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


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
    session = functools.cache(open_session)

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


def _probabilities(session: Any, picture: Image.Image) -> list[float]:
    wanted = session.get_inputs()[0]
    side = wanted.shape[2] if isinstance(wanted.shape[2], int) else _CLASSIFIER_SIDE_PX
    small = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values: NDArray[np.float32] = np.asarray(small, dtype=np.float32).transpose(2, 0, 1)[None] / 127.5 - 1
    return [float(value) for value in session.run(None, {wanted.name: values})[0][0]]


class _Preprocessor(BaseModel):
    """What transformers' image processors keep in preprocessor_config.json, as far as it matters for a square picture.

    Defaults are CLIP's.
    """

    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = CLIP_STD
    size: PositiveInt | dict[str, PositiveInt] | None = None
    crop_size: PositiveInt | dict[str, PositiveInt] | None = None
    do_center_crop: bool | None = True
    resample: int = Field(default=Image.Resampling.BICUBIC, ge=0, le=5)

    @property
    def sides_px(self) -> tuple[int, int]:
        """Sides of the square before and after its middle is cut out; 0: not said."""
        before = _side(self.size)
        return before, (_side(self.crop_size) or before) if self.do_center_crop else before


@dataclass(frozen=True)
class Embedder:
    """An encoder that is ready to read pictures.

    Attributes:
        session: onnxruntime's.
        name: what the user calls the file, for messages.
        prepare: how a picture is made into input.
        edge_px: side that a square picture is resized to.
        side_px: side of its middle, which the model gets.
        channels_last: NHWC instead of NCHW.
        given: name of the input for the picture.
        wanted: name of the output.
        blank: what else the model asks for and does not matter: CLIP's text, where both halves are one file.
    """

    session: Any
    name: str
    prepare: _Preprocessor
    edge_px: int
    side_px: int
    channels_last: bool
    given: str
    wanted: str
    blank: Mapping[str, NDArray[np.int64]]

    @classmethod
    def load(cls, files: Mapping[str, Path]) -> "Embedder":
        """Open what `find_embedder_files` found.

        Raises:
            TaggerError: it cannot be run, takes no pictures, or answers with no vector.
        """
        path = files[MODEL_FILE]
        session = open_session(path)
        prepare = _preprocessor(files[CONFIG_FILE]) if CONFIG_FILE in files else _Preprocessor()
        picture, side_px, channels_last = _input_of(session, path)
        edge_px, cut_px = prepare.sides_px
        side_px = side_px or cut_px or _ENCODER_SIDE_PX
        return cls(
            session, str(path), prepare, max(edge_px, side_px), side_px, channels_last, picture.name,
            _output_of(session, path), _blank(session, picture, path),
        )  # fmt: skip

    def vector(self, square: Image.Image) -> NDArray[np.float32]:
        """What the encoder makes of a square picture, of length 1.

        Returns:
            Shape (features,).

        Raises:
            TaggerError: the model fails, or what it answers with is no vector.
        """
        try:
            (found,) = self.session.run([self.wanted], {**self.blank, self.given: self._input(square)})
        except Exception as error:  # as above
            from lora_core.tagging.wd14 import first_line  # needs onnxruntime, and so not before this one does

            raise TaggerError(f"{self.name}: fails on a picture ({first_line(error)})") from error
        length = float(np.linalg.norm(found))
        if found.ndim != 2 or found.shape[0] != 1 or not np.isfinite(length) or length == 0:
            raise TaggerError(
                f"{self.name}: {self.wanted} of one picture is of shape {found.shape} and length {length:g}, not one "
                "vector; [judging] embedder wants an image encoder such as CLIP's"
            )
        return np.asarray(found[0] / length, dtype=np.float32)

    def _input(self, square: Image.Image) -> NDArray[np.float32]:
        resample = Image.Resampling(self.prepare.resample)
        whole = square.convert("RGB").resize((self.edge_px, self.edge_px), resample)
        start = (self.edge_px - self.side_px) // 2
        middle = whole.crop((start, start, start + self.side_px, start + self.side_px))
        values = (np.asarray(middle, dtype=np.float32) / 255 - self.prepare.image_mean) / self.prepare.image_std
        ordered = values if self.channels_last else values.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered[None], dtype=np.float32)


def find_embedder_files(place: Path) -> dict[str, Path]:
    """An encoder's files: `model.onnx`, weights beside it if it keeps them there, `preprocessor_config.json` if any.

    Args:
        place: the ONNX file, or a folder with it.

    Raises:
        TaggerError: it is not there, or is a pickle, a web page or only a pointer.
    """
    names = [place / name for name in _MODELS] if place.is_dir() else [place]
    model = next((path for path in names if path.is_file()), None)
    if model is None:
        raise TaggerError(
            f"{place}: there is no such file; [judging] embedder wants an image encoder as an ONNX file, or a folder "
            f"with {' or '.join(_MODELS[:2])}"
        )
    check_size(model, MODEL_BYTES, TaggerError)
    with model.open("rb") as file:
        refuse_foreign(file.read(64), str(model), TaggerError, wanted=".onnx")
    weights = [model.with_name(model.name + end) for end in ("_data", ".data")]
    files = {MODEL_FILE: model} | {path.name: path for path in weights if path.is_file()}
    above = [model.parent, model.parent.parent] if model.parent.name == "onnx" else [model.parent]
    config = next((path for folder in above if (path := folder / CONFIG_FILE).is_file()), None)
    return files | ({CONFIG_FILE: config} if config else {})


def _preprocessor(path: Path) -> _Preprocessor:
    try:
        return _Preprocessor.model_validate_json(read_bounded(path, TEXT_BYTES, TaggerError))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise TaggerError(f"{path}: {where}: {first['msg']}") from None


def _side(size: int | Mapping[str, int] | None) -> int:
    """The shorter side: pictures are made square before they are read."""
    return size if isinstance(size, int) else min((size or {"": 0}).values())


def _input_of(session: Any, path: Path) -> tuple[Any, int, bool]:
    """The input of four dimensions, its side in pixels (0: free), and whether channels come last."""
    inputs = session.get_inputs()
    picture = next((one for one in inputs if len(one.shape) == 4), None)
    if picture is None:
        raise TaggerError(f"{path}: takes {_shapes(inputs)}, and no pictures; the image half of the model is needed")
    _, one, two, three = picture.shape
    channels_last = three == _RGB and one != _RGB
    sides = (one, two) if channels_last else (two, three)
    fixed = [side for side in sides if isinstance(side, int)]
    if picture.type != "tensor(float)" or (not channels_last and isinstance(one, int) and one != _RGB):
        raise TaggerError(f"{path}: takes {_shapes([picture])}; RGB in float32, channels first or last, is needed")
    if len(set(fixed)) > 1:
        raise TaggerError(f"{path}: takes {_shapes([picture])}; square pictures are needed")
    return picture, fixed[0] if fixed else 0, channels_last


def _output_of(session: Any, path: Path) -> str:
    outputs = session.get_outputs()
    named = [one for name in _OUTPUTS for one in outputs if one.name == name]
    found = [*named, *(one for one in outputs if len(one.shape) == 2)]
    if not found:
        raise TaggerError(
            f"{path}: answers with {_shapes(outputs)}; one vector a picture, of shape (batch, features), is needed"
        )
    return str(found[0].name)


def _blank(session: Any, picture: Any, path: Path) -> dict[str, NDArray[np.int64]]:
    """The shortest text for a model that wants one beside the picture: it does not change the picture's vector."""
    others = [one for one in session.get_inputs() if one.name != picture.name]
    if any(one.type != "tensor(int64)" for one in others):
        raise TaggerError(f"{path}: takes {_shapes(others)} beside the picture; the image half of the model is needed")
    return {one.name: np.ones([side if isinstance(side, int) else 1 for side in one.shape], np.int64) for one in others}


def _shapes(values: list[Any]) -> str:
    return ", ".join(f"{one.name} {one.type} {one.shape}" for one in values)


def open_session(model: Path) -> Any:
    """onnxruntime's, on the CPU.

    Raises:
        TaggerError: it is no model.
    """
    import onnxruntime

    check_size(model, MODEL_BYTES, TaggerError)
    try:
        return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a type of its own for every way a file can be wrong
        raise TaggerError(f"{model}: not a model that onnxruntime can run ({type(error).__name__})") from error
