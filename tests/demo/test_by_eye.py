"""The shipped tagger and probe read generated pictures as the person did who labelled 120 of them by looking."""

import pytest
import torch

from demo.project import MODELS
from demo.proof.probe import load_probe, solid_probabilities
from demo.train.by_eye import agreement, labelled, tagger_logits
from demo.train.tagger import LABELS

SURE = {"hair colour": 0.95, "eye colour": 0.95, "skin": 0.95, "hair flower": 0.95, "background": 0.95, "look": 0.95}
"""Families that the proof and the judge lean on."""


def test_the_tagger_reads_colours_background_and_look_off_samples_as_a_person_does() -> None:
    pictures, seen = labelled()
    figures = agreement(tagger_logits(MODELS / "tagger", pictures), seen)
    assert len(pictures) == 120
    missed = {
        family: figures[family] for family, least in SURE.items() if figures[family][0] < least * figures[family][1]
    }
    assert not missed
    assert figures["hair style"][0] >= 0.8 * figures["hair style"][1]
    assert figures["ears"][0] >= 0.8 * figures["ears"][1]


def test_the_probe_tells_the_look_of_samples_as_a_person_does() -> None:
    pictures, seen = labelled()
    told = [p >= 0.5 for p in solid_probabilities(load_probe(), pictures)]
    known = [(a, one["look"] == "solid") for a, one in zip(told, seen, strict=True) if one["look"] != "?"]
    assert sum(a == b for a, b in known) >= 0.98 * len(known)


@pytest.mark.parametrize(("word", "expected"), [("twintails", (1, 1)), ("long", (0, 1)), ("?", None)])
def test_only_what_could_be_told_by_eye_counts(word: str, expected: tuple[int, int] | None) -> None:
    logits = torch.full((1, len(LABELS)), -4.0)
    logits[0, [LABELS.index(tag) for tag in ("long_hair", "twintails")]] = 4.0
    assert agreement(logits, [{"hair style": word}]).get("hair style") == expected
