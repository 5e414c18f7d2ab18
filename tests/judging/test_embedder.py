"""An image encoder whose vector is a picture's mean colour, so that cosines are known by hand."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from stored_pictures import put, samples, training
from transformers import CLIPImageProcessor

from demo.project import MODELS
from lora_core.dataset import Manifest
from lora_core.errors import TaggerError
from lora_core.judging.onnx_models import CONFIG_FILE, Embedder, find_embedder_files
from lora_core.judging.similarity import Closest, Embedded, embed
from lora_core.judging.verdict import Verdict, judge_epochs, read_verdict
from lora_core.progress import silent
from lora_core.recipe import Judging
from lora_core.sampling.samples import Sample, Samples, save_samples
from lora_core.store import Store

PLAIN = {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
SIDE = 32
COPY = Closest(picture="shot_0", cosine=1.0)  # rounded to what float32 tells


def save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], *outputs: onnx.ValueInfoProto
) -> Path:
    graph = helper.make_graph(nodes, "test", inputs, list(outputs))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def value(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def mean_colour(path: Path, config: object = PLAIN, *, last: bool = False, side: int | str = SIDE) -> Path:
    """CLIP's names; a decoy of two dimensions comes first, as the scores do where text and image are one file."""
    shape = ("batch", side, side, 3) if last else ("batch", 3, side, side)
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["image_embeds"], axes=[1, 2] if last else [2, 3], keepdims=0),
        helper.make_node("Neg", ["image_embeds"], ["logits_per_image"]),
    ]
    outputs = (value("logits_per_image", "batch", 3), value("image_embeds", "batch", 3))
    save(path, nodes, [value("pixel_values", *shape)], *outputs)
    if config is not None:
        (path.parent / CONFIG_FILE).write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def colour(red: int, green: int, blue: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new("RGB", size, (red, green, blue))


def closest(found: Embedded, seen: Samples) -> list[Closest]:
    return [found.closest[sample.image] for sample in seen.samples]


@pytest.mark.parametrize("last", [False, True])
def test_the_nearest_screenshot_is_named_with_its_cosine_and_the_mean_is_over_all(tmp_path: Path, last: bool) -> None:
    store = Store(tmp_path / "store")
    files = find_embedder_files(mean_colour(tmp_path / "m" / "clip.onnx", last=last))
    seen = samples(store, colour(255, 255, 0), colour(0, 90, 0))
    found = embed(store, seen, training(store, colour(200, 0, 0), colour(0, 100, 0), colour(0, 0, 255)), files)
    yellow, green = closest(found, seen)
    # (1, 1, 0) lies 45° from (1, 0, 0) and from (0, 1, 0); brightness changes no direction.
    assert (yellow.picture, green.picture) == ("shot_0", "shot_1")
    assert (yellow.cosine, green.cosine) == (pytest.approx(0.5**0.5, abs=1e-6), pytest.approx(1.0))
    means = [found.mean[sample.image] for sample in seen.samples]
    assert means == [pytest.approx(2 * 0.5**0.5 / 3, abs=1e-6), pytest.approx(1 / 3, abs=1e-6)]


def test_a_copy_within_a_portrait_format_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    files = find_embedder_files(mean_colour(tmp_path / "m" / "model.onnx"))
    tall = colour(0, 0, 255, (40, 80))
    tall.paste(colour(255, 0, 0), (0, 40))
    seen = samples(store, tall)
    found = embed(store, seen, training(store, colour(255, 0, 0)), files)
    assert closest(found, seen) == [COPY]
    assert found.mean[seen.samples[0].image] < 0.9


def test_without_screenshots_nothing_is_compared(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    files = find_embedder_files(mean_colour(tmp_path / "m" / "model.onnx"))
    found = embed(store, samples(store, colour(1, 2, 3)), Manifest(entries=()), files)
    assert (found.closest, found.mean) == ({}, {})


def test_a_picture_is_read_once_by_each_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    files = find_embedder_files(mean_colour(tmp_path / "m" / "model.onnx"))
    seen, shots = samples(store, colour(9, 0, 0)), training(store, colour(0, 9, 9))
    first = embed(store, seen, shots, files)
    other = {**files, CONFIG_FILE: tmp_path / "other.json"}
    other[CONFIG_FILE].write_text(json.dumps({**PLAIN, "image_mean": [0.5, 0.5, 0.5]}))
    assert embed(store, seen, shots, other) != first
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    assert embed(store, seen, shots, files) == first


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}},
        {"size": 32, "crop_size": 32, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
        {"size": {"height": 48, "width": 48}, "do_center_crop": False},
    ],
)
def test_pictures_are_prepared_as_transformers_prepares_them(tmp_path: Path, config: dict[str, object] | None) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    pixels = value("pixel_values", "batch", "channels", "height", "width")
    flat = save(
        tmp_path / "model.onnx", [helper.make_node("Flatten", ["pixel_values"], ["embeddings"])], [pixels],
        value("embeddings", "batch", "values"),
    )  # fmt: skip
    if config is not None:
        (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    wanted = CLIPImageProcessor(**(config or {}))(picture, return_tensors="pt")["pixel_values"].numpy().ravel()
    found = Embedder.load(find_embedder_files(flat)).vector(picture)
    assert found.shape == wanted.shape
    # transformers' resizing rounds to whole steps of 1/255 in its own way
    assert np.abs(found - wanted / np.linalg.norm(wanted)).max() * np.linalg.norm(wanted) < 0.02


def test_a_model_that_takes_text_as_well_gives_the_pictures_vector(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["image_embeds"], axes=[2, 3], keepdims=0),
        helper.make_node("Cast", ["input_ids"], ["text_embeds"], to=TensorProto.FLOAT),
    ]
    text = value("input_ids", "texts", "tokens", kind=TensorProto.INT64)
    outputs = value("text_embeds", "texts", "tokens"), value("image_embeds", "batch", 3)
    save(tmp_path / "model.onnx", nodes, [text, value("pixel_values", "batch", 3, SIDE, SIDE)], *outputs)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(PLAIN))
    found = Embedder.load(find_embedder_files(tmp_path)).vector(colour(0, 255, 0))
    assert found == pytest.approx([0, 1, 0])


def test_a_folder_as_transformers_js_keeps_it_is_found_with_its_settings_and_weights(tmp_path: Path) -> None:
    model = mean_colour(tmp_path / "onnx" / "vision_model.onnx", None)
    (tmp_path / CONFIG_FILE).write_text(json.dumps(PLAIN))
    weights = tmp_path / "onnx" / "vision_model.onnx_data"
    weights.write_bytes(b"weights")
    wanted = {"model.onnx": model, CONFIG_FILE: tmp_path / CONFIG_FILE, weights.name: weights}
    assert find_embedder_files(tmp_path) == wanted
    assert find_embedder_files(model) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"e\.onnx: there is no such file; \[judging\] embedder wants an image encoder"),
        (b"\x80\x04\x95" + b"x" * 80, r"e\.onnx: this is a pickle .* get the model as \.onnx"),
        (b"version https://git-lfs.github.com/spec/v1\n" + b"x" * 40, "only git-lfs' pointer"),
    ],
)
def test_what_is_no_onnx_file_is_refused_when_it_is_looked_for(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "e.onnx").write_bytes(content)
    with pytest.raises(TaggerError, match=message):
        find_embedder_files(tmp_path / "e.onnx")


def test_a_folder_without_a_model_is_refused_with_the_names_that_are_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TaggerError, match=r"a folder with vision_model\.onnx or model\.onnx"):
        find_embedder_files(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "Invalid JSON"),
        ({"image_std": [1, 0, 1]}, r"image_std\.1: Input should be greater than 0"),
        ({"image_mean": [0.5]}, "image_mean"),
    ],
)
def test_settings_that_cannot_be_right_are_told_in_one_line(tmp_path: Path, config: object, message: str) -> None:
    files = find_embedder_files(mean_colour(tmp_path / "model.onnx", config))
    with pytest.raises(TaggerError, match=message) as caught:
        Embedder.load(files)
    assert len(str(caught.value).splitlines()) == 1


PIXELS = value("pixel_values", 1, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        (("batch", 77), TensorProto.FLOAT, "and no pictures"),
        ((1, 4, SIDE, SIDE), TensorProto.FLOAT, "RGB in float32"),
        ((1, 3, SIDE, SIDE), TensorProto.FLOAT16, "RGB in float32"),
        ((1, 3, SIDE, 16), TensorProto.FLOAT, "square pictures are needed"),
    ],
)
def test_a_model_that_takes_something_else_is_refused(
    tmp_path: Path, shape: tuple[int | str, ...], kind: int, message: str
) -> None:
    given, wanted = (value(name, *shape, kind=kind) for name in ("given", "found"))
    save(tmp_path / "model.onnx", [helper.make_node("Identity", ["given"], ["found"])], [given], wanted)
    with pytest.raises(TaggerError, match=message):
        Embedder.load(find_embedder_files(tmp_path))


def test_a_model_without_a_vector_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["pixel_values"], ["last_hidden_state"])
    save(tmp_path / "model.onnx", [node], [PIXELS], value("last_hidden_state", 1, 3, SIDE, SIDE))
    with pytest.raises(TaggerError, match="one vector a picture"):
        Embedder.load(find_embedder_files(tmp_path))


def test_bytes_that_onnxruntime_cannot_run_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model at all")
    with pytest.raises(TaggerError, match="not a model that onnxruntime can run"):
        Embedder.load(find_embedder_files(tmp_path))


def test_a_vector_without_length_has_no_direction(tmp_path: Path) -> None:
    files = find_embedder_files(mean_colour(tmp_path / "model.onnx"))
    with pytest.raises(TaggerError, match=r"of shape \(1, 3\) and length 0, not one vector"):
        Embedder.load(files).vector(colour(0, 0, 0))


def test_a_model_that_wants_two_pictures_at_once_is_told_in_one_line(tmp_path: Path) -> None:
    node = helper.make_node("ReduceMean", ["pixel_values"], ["found"], axes=[2, 3], keepdims=0)
    save(tmp_path / "model.onnx", [node], [value("pixel_values", 2, 3, SIDE, SIDE)], value("found", 2, 3))
    with pytest.raises(TaggerError, match="fails on a picture") as caught:
        Embedder.load(find_embedder_files(tmp_path)).vector(colour(9, 9, 9))
    assert len(str(caught.value).splitlines()) == 1


def judged(store: Store, embedder: Path | None, options: Judging) -> Verdict:
    """Screenshots are red; the base draws green; epoch 1 draws yellow, and 2 red of another brightness."""
    drawn = [("none", 0.0, colour(0, 255, 0)), ("1", 1.0, colour(255, 255, 0)), ("2", 1.0, colour(90, 0, 0))]
    seen = Samples(
        negative="",
        lora_files=(("1", "a-000001.safetensors"), ("2", "a.safetensors")),
        samples=tuple(
            Sample(
                epoch=epoch, weight=weight, prompt_index=0, prompt="x", seed=1, file=f"samples/{epoch}.png",
                image=put(store, picture), width=40, height=40,
            )
            for epoch, weight, picture in drawn
        ),
    )  # fmt: skip
    shots = training(store, colour(255, 0, 0))
    tagger = {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}
    files = find_embedder_files(embedder) if embedder else None
    ref = judge_epochs(
        store, save_samples(store, seen, "x"), shots, (), tagger, options, silent, embedder=files
    )  # fmt: skip
    return read_verdict(store, ref)


def test_an_epoch_that_copies_by_the_embedder_alone_is_out_of_bounds(tmp_path: Path) -> None:
    model = mean_colour(tmp_path / "model.onnx")
    # Hashes say nothing of plain colours: all are alike.
    verdict = judged(Store(tmp_path / "store"), model, Judging(copy_bits=0, max_copying=1, max_leak=1))
    assert [one.scores["copying_cosine"].mean for one in verdict.measured.epochs] == [0, 1]
    strict = Judging(copy_bits=0, max_copying=0.5, max_leak=1, max_background=1, max_habits=1)
    reasons = [row.reason for row in judged(Store(tmp_path / "store"), model, strict).choice.table]
    assert "by the embedder" not in reasons[0]
    assert "share of copies by the embedder 1.00, at most 0.50" in reasons[1]


def test_similarity_is_the_delta_of_the_cosine_over_the_base_model(tmp_path: Path) -> None:
    verdict = judged(Store(tmp_path / "store"), mean_colour(tmp_path / "model.onnx"), Judging())
    found = [one.scores["similarity"].mean for one in verdict.measured.epochs]
    # Green has nothing of red, yellow lies 45° from it.
    assert found == [pytest.approx(0.5**0.5, abs=1e-6), pytest.approx(1.0)]
    assert verdict.measured.base["copying_cosine"].mean == 0
    assert verdict.measured.epochs[1].closest == COPY


def test_without_an_embedder_there_are_no_such_metrics(tmp_path: Path) -> None:
    verdict = judged(Store(tmp_path / "store"), None, Judging())
    assert not {"copying_cosine", "similarity"} & {metric.key for metric in verdict.columns}
    assert {one.closest for one in verdict.measured.epochs} == {None}
