"""What Prefect's UI shows of a run: small enough for it, however large the pictures."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scored import epoch, judged, score

from lora_core.judging.bootstrap import Score
from lora_core.judging.verdict import Verdict
from lora_core.report.card import markdown, table
from lora_core.sampling.samples import Sample, Samples
from lora_core.store import Store


def verdict(**more: Score) -> Verdict:
    return judged(
        epoch(3, 0.6, identity=score(0.4), **more), epoch(3, 1.0, identity=score(0.4), leak=score(0.4), **more)
    )


def noisy(store: Store) -> Samples:
    """What compresses worst: noise, 768×1152, eight prompts."""
    random = np.random.default_rng(1)
    samples = []
    for number, weight in (("none", 0.0), ("3", 0.6), ("3", 1.0)):
        for index in range(8):
            buffer = BytesIO()
            noise = random.integers(0, 255, (144, 96, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(noise).save(buffer, "PNG")
            samples.append(
                Sample(
                    epoch=number, weight=weight, prompt_index=index, prompt=f"prompt {index}", seed=1,
                    file=f"{number}{weight}{index}", image=store.put_bytes(buffer.getvalue()), width=768, height=1152,
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
    assert [(row["epoch"], row["weight"], row["leak of the look"]) for row in rows] == [
        ("3", "0.6", "not measured"),
        ("3", "1", "0.40 (0.30 to 0.50)"),
    ]
    assert [row["why"] for row in rows] == [
        "chosen, though leak of the look cannot be measured",
        "leak of the look 0.40 (to 0.50), at most 0.25",
    ]


def test_the_table_has_columns_for_what_was_measured_only() -> None:
    assert list(table(verdict())[0]) == ["epoch", "weight", "identity", "leak of the look", "why"]
    row = table(verdict(copying_cosine=score(0.05)))[0]
    assert row["share of copies by the embedder"] == "0.05 (−0.05 to 0.15)"
