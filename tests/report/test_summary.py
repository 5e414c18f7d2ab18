"""What Prefect's UI shows of a run: small enough for it, however large the pictures."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from lora_core.judging.bootstrap import Figure
from lora_core.judging.epoch import choose_epoch
from lora_core.judging.scores import EpochFigures, Figures, Without
from lora_core.judging.verdict import Verdict
from lora_core.recipe import Judging
from lora_core.report.summary import markdown, table
from lora_core.sampling.samples import Sample, Samples
from lora_core.store import Store

FIGURE = Figure(mean=0.4, low=0.3, high=0.5, samples=6)


def verdict() -> Verdict:
    epochs = tuple(
        EpochFigures(
            epoch="3", weight=weight, file="a.safetensors", identity=FIGURE, leak=FIGURE if weight > 0.9 else None,
            background=None, habits=None, obedience=None, copying=None, nearest=None, diversity=None,
        )
        for weight in (0.6, 1.0)
    )  # fmt: skip
    figures = Figures(
        epochs=epochs, without=Without(obedience=None, diversity=None, copying=None), traits=(), habits=(),
        look_tags=(), not_measured=(),
    )  # fmt: skip
    return Verdict(figures=figures, choice=choose_epoch(figures, Judging()))


def noisy(store: Store) -> Samples:
    """What compresses worst: noise, 768×1152, eight prompts."""
    random = np.random.default_rng(1)
    samples = []
    for epoch, weight in (("none", 0.0), ("3", 0.6), ("3", 1.0)):
        for index in range(8):
            buffer = BytesIO()
            noise = random.integers(0, 255, (144, 96, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(noise).save(buffer, "PNG")
            samples.append(
                Sample(
                    epoch=epoch, weight=weight, prompt_index=index, prompt=f"prompt {index}", seed=1,
                    file=f"{epoch}{weight}{index}", image=store.put_bytes(buffer.getvalue()), width=768, height=1152,
                )
            )  # fmt: skip
    return Samples(negative="", lora_files=(("3", "a.safetensors"),), samples=tuple(samples))


def test_the_page_has_the_choice_thumbnails_and_the_report_and_is_well_below_a_megabyte(tmp_path: Path) -> None:
    store = Store(tmp_path)
    page = markdown(store, verdict(), noisy(store), "mo<mo", "/out/momo", "https://hub/commit/1")
    assert len(page.encode()) < 500_000
    assert "## mo&lt;mo: epoch 3 at weight 0.6" in page
    assert "Look before you use it" in page
    assert "`/out/momo/report.html`" in page
    assert "https://hub/commit/1" in page
    (data,) = re.findall(r"data:image/jpeg;base64,([\w+/=]+)", page)
    sheet = Image.open(BytesIO(base64.b64decode(data)))
    assert sheet.height > 6 * 190  # six rows of thumbnails


def test_the_table_has_a_row_for_every_epoch_and_weight_and_its_reason() -> None:
    rows = table(verdict())
    assert [(row["epoch"], row["weight"], row["leak: look"]) for row in rows] == [
        ("3", "0.6", ""),
        ("3", "1", "0.40 (0.30 to 0.50)"),
    ]
    assert [row["why"] for row in rows] == ["chosen", "leak of the look 0.40, at most 0.25"]


def test_the_table_has_the_embedders_columns_only_where_there_was_one() -> None:
    found = verdict()
    epochs = tuple(one.model_copy(update={"copying_cosine": FIGURE}) for one in found.figures.epochs)
    figures = found.figures.model_copy(update={"epochs": epochs, "embedder": ("f" * 64,)})
    row = table(found.model_copy(update={"figures": figures}))[0]
    assert (row["copies (embedder)"], row["likeness (embedder)"]) == ("0.40 (0.30 to 0.50)", "")
    assert not any("embedder" in column for column in table(found)[0])
