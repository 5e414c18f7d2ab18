"""Four LoRAs that anybody can tell apart at a glance, and what the judge says of them (tests/golden/ranked)."""

from pathlib import Path

import pytest
from ranked import judged

from lora_core.judging.bootstrap import Score
from lora_core.judging.measure import EpochMetrics
from lora_core.judging.verdict import Verdict
from lora_core.report.compare import differences
from lora_core.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.long]

FOUR = Path(__file__).parents[1] / "golden" / "ranked"
NAMES = ("under", "over", "naive", "good")


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """The four as epochs 1 to 4, each with eight prompts and two seeds."""
    folder = tmp_path_factory.mktemp("ranked")
    found, _ = judged(folder / "demo", Store(folder / "store"), {name: FOUR / f"{name}.safetensors" for name in NAMES})
    return found


def _of(verdict: Verdict, name: str) -> EpochMetrics:
    return verdict.measured.epochs[NAMES.index(name)]


def _score(verdict: Verdict, name: str, metric: str) -> Score:
    return _of(verdict, name).scores[metric]


def _difference(verdict: Verdict, one: str, other: str, metric: str) -> Score:
    """One minus the other, picture by picture."""
    return differences(_of(verdict, other).pictures, _of(verdict, one).pictures)[metric]


def test_the_good_one_is_chosen(verdict: Verdict) -> None:
    assert NAMES[int(verdict.choice.epoch) - 1] == "good"
    assert not verdict.choice.flagged


def test_the_naive_one_is_out_of_bounds_by_its_look_alone(verdict: Verdict) -> None:
    row = verdict.choice.table[NAMES.index("naive")]
    assert not row.within_bounds
    assert row.reason.startswith("leak of the look")
    assert _score(verdict, "naive", "leak").low > _score(verdict, "good", "leak").high
    identity = _score(verdict, "naive", "identity")
    assert identity.low > _score(verdict, "good", "identity").low  # by that alone it would have been chosen


def test_the_others_stand_below_the_good_one_by_identity(verdict: Verdict) -> None:
    under, over, good = (_score(verdict, name, "identity") for name in ("under", "over", "good"))
    assert under.mean < over.mean < good.mean
    assert under.high < over.low
    assert under.high < good.low
    # Own intervals of these two overlap a little: prompts differ more than they do. Picture by picture they don't.
    assert _difference(verdict, "over", "good", "identity").high < 0
    assert [verdict.choice.table[NAMES.index(name)].within_bounds for name in ("under", "over")] == [True, True]
