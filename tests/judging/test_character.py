"""A character model of CCIP's contract whose vector is a picture's mean colour: who is whom is known by hand."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from stored_pictures import samples, training

from demo.project import MODELS
from lora_core.dataset import Manifest, TagTable
from lora_core.errors import TaggerError
from lora_core.hub import find_tagger_files
from lora_core.judging.character import Recognized, find_character_files, recognize
from lora_core.judging.evidence import Evidence
from lora_core.judging.metrics import IDENTITY, METRICS
from lora_core.judging.similarity import Similarity
from lora_core.judging.verdict import judge_epochs, read_verdict
from lora_core.progress import silent
from lora_core.recipe import Judging
from lora_core.sampling.samples import Samples, save_samples
from lora_core.store import Store
from tasks.find import find_embedder
from tasks.runtime import RunContext

RECOGNIZED = next(metric for metric in METRICS if metric.key == "recognized")


def write(path: Path, nodes: list[onnx.NodeProto], given: list[int | str], answer: list[int | str]) -> None:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("input", given), ("output", answer))
    ]
    graph = helper.make_graph(nodes, "test", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture
def ccip(tmp_path: Path) -> Path:
    """Features: the mean of each channel as it comes in. Differences: (1 − cosine) / 2, of every two."""
    folder = tmp_path / "ccip"
    folder.mkdir()
    mean = [helper.make_node("ReduceMean", ["input"], ["output"], axes=[2, 3], keepdims=0)]
    write(folder / "model_feat.onnx", mean, ["batch", 3, 384, 384], ["batch", 3])
    cosine = [
        helper.make_node("LpNormalization", ["input"], ["unit"], axis=1, p=2),
        helper.make_node("Transpose", ["unit"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["unit", "turned"], ["cosine"]),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["cosine", "half"], ["scaled"]),
        helper.make_node("Sub", ["half", "scaled"], ["output"]),
    ]
    write(folder / "model_metrics.onnx", cosine, ["batch", 3], ["batch", "batch"])
    (folder / "metrics.json").write_text(json.dumps({"f1_score": 0.9, "threshold": 0.178}))
    return folder


def colour(red: int, green: int, blue: int, size: tuple[int, int] = (40, 40)) -> Image.Image:
    return Image.new("RGB", size, (red, green, blue))


def test_a_sample_counts_by_the_share_of_screenshots_with_which_it_shows_one_character(
    ccip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    seen = samples(store, colour(250, 10, 10, (30, 60)), colour(10, 10, 250))
    shots = training(store, colour(255, 0, 0), colour(200, 20, 20), colour(0, 255, 0))
    found = recognize(store, seen, shots, find_character_files(ccip))
    assert [found.share[sample.image] for sample in seen.samples] == [pytest.approx(2 / 3), 0]


def test_pictures_come_as_dghs_imgutils_makes_them(ccip: Path, tmp_path: Path) -> None:
    """RGB, squeezed to 384×384 whatever its shape, less CLIP's mean, by CLIP's deviation."""
    from lora_core.judging.character import _input

    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    pixels = np.asarray(noise.resize((384, 384), Image.Resampling.BILINEAR)).astype(np.float64).transpose(2, 0, 1) / 255
    wanted = (pixels - np.array(mean)[:, None, None]) / np.array(deviation)[:, None, None]
    assert _input(noise).shape == (1, 3, 384, 384)
    assert np.allclose(_input(noise)[0], wanted, atol=1e-5)


def test_a_picture_is_read_once_and_without_screenshots_nothing_is_compared(
    ccip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, files = Store(tmp_path / "store"), find_character_files(ccip)
    seen, shots = samples(store, colour(9, 0, 0)), training(store, colour(0, 9, 9))
    first = recognize(store, seen, shots, files)
    assert recognize(store, seen, Manifest(entries=()), files).share == {}
    monkeypatch.setattr(Store, "get_bytes", lambda self, sha256: pytest.fail("read again"))
    assert recognize(store, seen, shots, files) == first


def test_identity_counts_it_like_one_more_trait(tmp_path: Path) -> None:
    store = Store(tmp_path)
    drawn, base = samples(store, colour(1, 2, 3), colour(4, 5, 6)).samples
    table = TagTable.model_validate(
        {
            "model": "0" * 64,
            "floor": 0.05,
            "images": {
                image: {"rating": {}, "general": general, "character": {}}
                for image, general in ((drawn.image, {"pink_hair": 0.9}), (base.image, {"pink_hair": 0.1}))
            },
        }
    )

    def evidence(recognized: Recognized | None) -> Evidence:
        return Evidence(table, ("pink_hair",), Similarity({}, {}), ("pink_hair",), recognized=recognized)

    assert IDENTITY.of_sample is not None
    assert IDENTITY.measured_by is not None
    assert RECOGNIZED.of_sample is not None
    without, known = evidence(None), evidence(Recognized("ab" * 32, {drawn.image: 0.5, base.image: 0.1}))
    assert IDENTITY.of_sample((drawn, base), without) == pytest.approx(0.8)
    assert IDENTITY.of_sample((drawn, base), known) == pytest.approx((0.8 + 0.4) / 2)
    assert RECOGNIZED.of_sample((drawn, base), known) == pytest.approx(0.5)
    assert RECOGNIZED.of_sample((drawn, base), without) is None
    assert IDENTITY.measured_by(without) == ("pink_hair",)
    assert IDENTITY.measured_by(known) == ("pink_hair", "character model abababababab")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model_metrics.onnx", None, "model_metrics.onnx: there is no such file"),
        ("metrics.json", b"{}", "holds no number `threshold`"),
        ("model_feat.onnx", b"no model", "not a model that onnxruntime can run"),
    ],
)
def test_what_is_no_such_model_is_one_line(
    ccip: Path, tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    (ccip / file).unlink() if content is None else (ccip / file).write_bytes(content)
    store = Store(tmp_path / "store")
    with pytest.raises(TaggerError, match=said) as error:
        recognize(store, samples(store, colour(1, 1, 1)), training(store, colour(2, 2, 2)), find_character_files(ccip))
    assert "\n" not in str(error.value)


def test_a_recipe_that_names_one_is_judged_by_it_and_one_that_does_not_keeps_its_keys(
    ccip: Path, tmp_path: Path
) -> None:
    assert "character_model" not in Judging().model_dump(mode="json")
    options = Judging(character_model=str(ccip))
    assert options.without_place.model_dump(mode="json") == Judging().model_dump(mode="json")
    at = RunContext(store=str(tmp_path / "store"))
    found = find_embedder(options, at)
    assert found is not None
    assert find_embedder(Judging(), at) is None
    store = at.open_store()
    green, red = samples(store, colour(0, 255, 0), colour(200, 9, 9)).samples
    base = green.model_copy(update={"epoch": "none", "weight": 0.0, "seed": red.seed})
    drawn = Samples(negative="", lora_files=(("1", "a.safetensors"),), samples=(base, red))
    tagger = find_tagger_files(str(MODELS / "tagger"), "")
    shots = training(store, colour(255, 0, 0))
    verdict = read_verdict(
        store,
        judge_epochs(
            store, save_samples(store, drawn, "x"), shots, (), tagger, options, silent,
            embedder=store.tree(found.sha256),
        ),
    )  # fmt: skip
    (epoch,) = verdict.measured.epochs
    assert (epoch.scores["recognized"].mean, epoch.scores["identity"].mean) == (pytest.approx(1), pytest.approx(1))
    assert verdict.measured.base["recognized"].mean == pytest.approx(0)
    assert "similarity" not in epoch.scores
