"""Samples are labelled by somebody who cannot know the arm, and the instruments agree with what was seen."""

from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from demo.proof import blind
from demo.proof.agreement import LOOK, TRAITS, Labelled, agreement, kappa
from demo.proof.blind import Drawn, choose, keep, labelled, write_sheets
from lora_core.errors import RecipeError

ARMS = ("naive", "note-gentle", "captions-only-redraw")


def drawn(count: int) -> list[Drawn]:
    """Of three arms on two pairs, so many each; a picture's colour tells them apart."""
    return [
        Drawn(arm, pair, Image.new("RGB", (128, 128), (40 * number, 60 * ARMS.index(arm), 0)))
        for pair in ("momo-yuki", "lina-kuma")
        for arm in ARMS
        for number in range(count)
    ]


def test_every_arm_and_pair_is_chosen_alike_in_an_order_that_tells_no_arm() -> None:
    chosen = choose(drawn(6), 18)
    assert set(Counter(one[:2] for one in chosen).values()) == {3}
    assert len({one[:2] for one in chosen}) == 6
    order = [one.arm for one in chosen]
    assert order not in (sorted(order), sorted(order, reverse=True))
    assert [one[:2] for one in chosen] == [one[:2] for one in choose(drawn(6), 18)]
    with pytest.raises(ValueError, match="40 samples are wanted, there are 36"):
        choose(drawn(6), 40)


def test_sheets_name_no_arm_and_what_was_filled_in_comes_back_with_it(tmp_path: Path) -> None:
    chosen = choose(drawn(2), 12)
    write_sheets(chosen, tmp_path)
    table = (tmp_path / "labels.tsv").read_text()
    assert not any(arm in table for arm in ARMS)
    assert {path.name for path in tmp_path.glob("*.png")} == {"sheet-momo-yuki.png", "sheet-lina-kuma.png"}
    target = tmp_path / "kept" / "samples.tsv"
    target.parent.mkdir()
    with pytest.raises(RecipeError, match=r"labels.tsv: 0, hair colour: write 1, 0 or \?, not ''"):
        keep(tmp_path, target)
    heads, *rows = [line.split("\t") for line in table.splitlines()]
    filled = [["1" if cell == "" else cell for cell in row[:-1]] + ["0"] for row in rows]
    (tmp_path / "labels.tsv").write_text("\n".join("\t".join(row) for row in [heads, *filled]) + "\n")
    keep(tmp_path, target)
    found = labelled(target)
    assert [(one.arm, one.pair) for one in found] == [one[:2] for one in chosen]
    assert all(one.seen[LOOK] is False and one.seen["hair colour"] for one in found)
    assert all("skin" not in one.seen for one in found)  # neither has one that a tag names


def test_cohens_kappa_by_hand() -> None:
    """Of 50: both yes 20, both no 15, 5 and 10 apart: 0.7 agree, 0.5 by chance, κ 0.4."""
    answers = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    found = kappa("look", answers)
    assert (found.agree, found.of, found.kappa) == (35, 50, pytest.approx(0.4))
    assert kappa("look", [(True, True)] * 3).kappa is None


def test_both_judgements_are_told_arm_by_arm() -> None:
    one = Labelled(arm="naive", pair="a", seen={"ears": True, LOOK: True}, read={"ears": False, LOOK: True})
    other = Labelled(arm="note", pair="b", seen={"ears": True}, read={"ears": True, LOOK: True})
    found = agreement([one, other])
    assert (found.pictures, found.pairs) == (2, 2)
    assert [(each.arm, each.traits_seen, each.traits_read) for each in found.arms] == [
        ("naive", 1.0, 0.0),
        ("note", 1.0, 1.0),
    ]
    assert [(each.question, each.agree, each.of) for each in found.questions] == [("ears", 1, 2), (LOOK, 1, 1)]


@pytest.mark.skipif(not blind.SEEN_FILE.is_file(), reason="nobody has labelled samples yet")
def test_the_instruments_read_samples_as_the_person_did_who_did_not_know_the_arm() -> None:
    found = agreement(labelled())
    assert found.pictures >= 100
    assert {one.arm for one in found.arms} == set(ARMS)
    by_question = {one.question: one for one in found.questions}
    assert set(by_question) >= {LOOK, "hair colour"}
    assert set(by_question) - set(TRAITS)
    assert by_question[LOOK].agree >= 0.95 * by_question[LOOK].of
    assert by_question["hair colour"].agree >= 0.9 * by_question["hair colour"].of
