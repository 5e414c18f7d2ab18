"""A metric is one function and one entry of `METRICS`: whatever measures, chooses, compares or shows finds it there."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from scored import epoch, score
from stored_pictures import put, training

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.project import MODELS
from flows.gate import _line
from lora_core.judging import metrics
from lora_core.judging.evidence import Evidence, SamplePair
from lora_core.judging.gates import successor_gates
from lora_core.judging.metrics import METRICS, Metric
from lora_core.judging.verdict import Verdict, judge_epochs, read_verdict
from lora_core.progress import silent
from lora_core.recipe import Judging, Publish
from lora_core.report.card import model_card, table
from lora_core.report.compare import Variant, render_comparison
from lora_core.report.data import ReportData
from lora_core.report.html import render
from lora_core.sampling.samples import Sample, Samples, save_samples
from lora_core.store import Store

OPTIONS = Judging(copy_bits=0, max_copying=1, max_leak=1, max_background=1, max_habits=1)


def _seed_share(pair: SamplePair, evidence: Evidence) -> float | None:
    return pair[0].seed / 4 if pair[0].epoch != "none" else 0.0


SEEDINESS = Metric(
    key="seediness",
    label="seediness",
    explanation="How <large> the seeds are.",
    of_sample=_seed_share,
    higher_is_better=True,
    bound=lambda judging: judging.copy_cosine,
    tolerance=lambda publish: publish.worse_leak,
    format=lambda value: f"{value:.0%}",
    headline=True,
)


@pytest.fixture
def verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Epochs 1 and 2, two seeds each, judged with one metric more."""
    monkeypatch.setattr(metrics, "METRICS", (*METRICS, SEEDINESS))
    store = Store(tmp_path)
    samples = tuple(
        Sample(
            epoch=name, weight=float(name != "none"), prompt_index=0, prompt="x", seed=seed, file=f"{name}-{seed}",
            image=put(store, Image.new("RGB", (40, 40), (40 * seed, 60 * shade, 90))), width=40, height=40,
        )
        for shade, name in enumerate(("none", "1", "2"))
        for seed in (1, 2)
    )  # fmt: skip
    drawn = Samples(negative="", lora_files=(("1", "a-000001.safetensors"), ("2", "a.safetensors")), samples=samples)
    shots = training(store, Image.new("RGB", (40, 40), "red"))
    tagger = {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}
    ref = judge_epochs(store, save_samples(store, drawn, "x"), shots, (), tagger, OPTIONS, silent)
    return read_verdict(store, ref)


def test_it_is_in_the_verdict_and_its_bound_is_held(verdict: Verdict) -> None:
    assert [one.scores["seediness"].mean for one in verdict.measured.epochs] == [pytest.approx(0.375)] * 2
    assert [one.values["seediness"] for one in verdict.chosen.metrics.pictures] == pytest.approx([0.25, 0.5])
    assert verdict.measured.base["seediness"].mean == pytest.approx(0)
    assert not verdict.choice.passed
    assert all(row.reason.endswith("seediness 38%, at least 95%") for row in verdict.choice.table)


def test_it_is_on_the_page_in_the_card_in_the_artifact_and_in_the_question(verdict: Verdict) -> None:
    picture = BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    data = ReportData(
        name="Mira", trigger="t", file="Mira.safetensors", verdict=verdict, preview=picture.getvalue(), samples=(),
        recipe="",
    )  # fmt: skip
    page, card = render(data), model_card(data, base="owner/name", licence="")
    assert page.count("38%") >= 3  # at the top, and in the row of each epoch
    assert "How &lt;large&gt; the seeds are." in page
    assert '<th scope="col">Seediness\u00a0↑</th>' in page
    assert "at least 95%" in page
    assert "- **Seediness:** How \\<large\\> the seeds are." in card
    assert "| Seediness |" in card
    assert card.count("38% (25% to 50%)") == 2
    assert [row["seediness"] for row in table(verdict)] == ["38% (25% to 50%)"] * 2
    assert "; seediness 38% (25% to 50%); " in _line(verdict.rows[0])


def test_it_is_compared_between_variants_and_versions(verdict: Verdict) -> None:
    variants = [Variant(name=name, what="", verdict=verdict, reason="") for name in ("one", "two")]
    page = render_comparison(variants)
    assert page.count('<th scope="col">Seediness\u00a0↑</th>') == 4  # metrics, differences, rows of each
    before, after = epoch(seediness=score(0.9, 0.01)), epoch(seediness=score(0.5, 0.01))
    gate = list(successor_gates(before, after, "mira", Publish()))[-1]
    assert (gate.passed, gate.line) == (False, "compared with mira: seediness 0.500, at least 0.85")


def test_keys_and_labels_are_unique_and_every_metric_has_one_way_to_be_computed() -> None:
    for names in ([metric.key for metric in METRICS], [metric.label for metric in METRICS]):
        assert len(set(names)) == len(names)
    assert all([metric.of_sample, metric.of_column, metric.of_seeds].count(None) == 2 for metric in METRICS)
