"""What is to be said of captions belongs to the result: it is said each time, cached or not."""

import inspect
from pathlib import Path

import pytest

from lora_core.captions.rules import Rules
from lora_core.dataset import Entry, Manifest, Scores, TagTable, save_manifest, save_tags
from lora_core.refs import ReportRef
from lora_core.tagging.select import Thresholds
from tasks.caption import edit_captions
from tasks.check import check_captions, tell_findings
from tasks.runtime import RunContext


@pytest.fixture
def at(tmp_path: Path) -> RunContext:
    return RunContext(store=str(tmp_path / "store"))


def _checked(at: RunContext, rules: Rules) -> ReportRef:
    store = at.open_store()
    image = store.put_bytes(b"a picture")
    entry = Entry(name="a", source="a.png", image=image, width=8, height=8, composition="portrait")
    scores = Scores(rating={}, general={"1girl": 0.9, "smile": 0.9}, character={})
    tags = save_tags(store, TagTable(model="1" * 64, floor=0.05, images={image: scores}))
    least = Thresholds(general=0.5, character=0.5)
    pictures = save_manifest(store, Manifest(entries=(entry,)))
    captions = inspect.unwrap(edit_captions.fn)(pictures, tags, rules, "hcmomo", least, at)
    return inspect.unwrap(check_captions.fn)(captions, rules, 225, at)


def test_a_rule_that_does_nothing_is_told_every_time_the_result_is_used(
    at: RunContext, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _checked(at, Rules(drop=("smole",)))
    assert "smole" not in capsys.readouterr().err  # the step does not say it: it would only when it is not cached
    for _ in range(2):
        tell_findings(told, at)
        said = capsys.readouterr().err
        assert "! caption rules: drop: smole is on no picture; did you mean smile, on 1?" in " ".join(said.split())


def test_captions_without_a_fault_are_passed_in_silence(at: RunContext, capsys: pytest.CaptureFixture[str]) -> None:
    checked = _checked(at, Rules())
    capsys.readouterr()
    tell_findings(checked, at)
    assert capsys.readouterr().err == ""
