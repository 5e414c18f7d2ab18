"""Where a report's loss curve begins: at the first mean that is of as many steps as it says."""

import json
from pathlib import Path

import pytest

from lora_core.refs import LoraRef
from lora_core.report.assemble import _curve
from lora_core.store import Store


@pytest.mark.parametrize(
    ("steps", "first"),
    [
        ((1, 50, 100, 150), 100),
        ((1, 2, 3), 1),  # too short for a single whole mean: all there is
    ],
)
def test_a_loss_curve_begins_at_its_first_whole_mean(tmp_path: Path, steps: tuple[int, ...], first: int) -> None:
    store = Store(tmp_path)
    points = [{"step": step, "epoch": 1, "loss": 1 / step} for step in steps]
    table = store.path(store.put_bytes(json.dumps({"averaged_steps": 100, "points": points}).encode()))
    curve = _curve(store, "character", LoraRef(sha256=store.put_tree({"loss.json": table})))
    assert curve.points[0][0] == first
    assert curve.points[-1] == (steps[-1], 1 / steps[-1])
