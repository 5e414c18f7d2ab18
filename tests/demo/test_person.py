"""Who stands in for the person at the gate of redrawing."""

from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from PIL import Image

from demo.proof import person
from demo.proof.person import answer_gate, has_answered
from flows.artifacts import RunArtifacts
from flows.asking import RedrawAnswer
from flows.gate import pass_redraw_gate
from lora_core.recipe import Composition, Gates
from lora_core.redraw.choose import SELECTION_FILE
from lora_core.redraw.judgement import Judgement, Selection
from lora_core.redraw.scenes import Scene
from lora_core.refs import ReportRef
from lora_core.store import Store
from tasks.runtime import RunContext


def _picture(store: Store, name: str, framing: Composition, red: int) -> Judgement:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), (red, 0, 0)).save(buffer, "PNG")
    scene = Scene(framing=framing, clothes="", pose="", place="", prompt="", seed=1)
    return Judgement(
        name=name, image=store.put_bytes(buffer.getvalue()), width=8, height=8, scene=scene, composition=framing,
        code="chosen",
    )  # fmt: skip


@pytest.mark.parametrize(("mark", "without"), [("sash", ("redrawn-003",)), ("none", ())])
def test_what_could_show_the_trait_and_does_not_is_left_out_at_the_gate_and_nothing_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, without: tuple[str, ...]
) -> None:
    """A sash is seen by a picture's red here; no portrait can show one."""
    monkeypatch.setattr(
        person, "trait_probabilities", lambda _, pictures: [{"sash": p.getpixel((0, 0))[0] / 255} for p in pictures]
    )
    at = RunContext(store=str(tmp_path))
    store = at.open_store()
    framings: tuple[tuple[Composition, int], ...] = (("portrait", 0), ("upper_body", 200), ("cowboy_shot", 40))
    pictures = tuple(_picture(store, f"redrawn-{n:03d}", *each) for n, each in enumerate(framings, start=1))
    listed = store.path(store.put_json(Selection(pictures=pictures, wanted=3, scores={}).model_dump(mode="json")))
    gate = store.path(store.put_bytes(b"[]"))
    selected = ReportRef(sha256=store.put_tree({SELECTION_FILE: listed, "gate.json": gate}))
    made = SimpleNamespace(rounds=(SimpleNamespace(selected=selected),))
    assert not has_answered(cast(RunArtifacts, made), at)
    answer_gate(cast(RunArtifacts, made), mark, at)
    assert has_answered(cast(RunArtifacts, made), at)
    asked: list[tuple[str, ...]] = []
    pass_redraw_gate(Gates(redraw="ask"), lambda left_out: asked.append(left_out) or selected, at)
    assert asked == [(), *([without] if without else [])]
    assert RedrawAnswer(leave_out="3").names == ("redrawn-003",)
