"""A base that is made to forget the look, and the proof's arms on it."""

import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from demo.project import MODELS
from demo.proof import scope
from demo.proof.arms import RECOMMENDED, Screenshots, read_arm
from demo.proof.forgetful import ARMS, on_forgetful_base
from demo.proof.pairs import PAIRS, few
from demo.train import forget
from demo.train.render import FULL_PX, SMALL_PX
from demo.world.tags import SOLID_LOOK, picture_tags
from lora_core.store.digests import file_digest

SHOTS = Screenshots(Path("/shots/style"), Path("/shots/character"))


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.long
def test_a_base_forgets_in_its_unet_alone_and_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget, "_PICTURES", {FULL_PX: 4, SMALL_PX: 4})
    monkeypatch.setattr(forget, "STEPS", 2)
    forget.forgetful_base(MODELS / "base", tmp_path / "whole")
    with monkeypatch.context() as stopped:
        stopped.setattr(forget, "load_average", _stop)
        with pytest.raises(KeyboardInterrupt):
            forget.forgetful_base(MODELS / "base", tmp_path / "base")
    assert not (tmp_path / "base").exists()
    monkeypatch.setattr(forget, "draw", _stop)  # what was drawn is kept
    forget.forgetful_base(MODELS / "base", tmp_path / "base")
    assert files(tmp_path / "base") == files(tmp_path / "whole")
    assert not (tmp_path / "base-work").exists()
    known, forgotten = files(MODELS / "base"), files(tmp_path / "base")
    assert known.keys() == forgotten.keys()
    assert {name for name in known if known[name] != forgotten[name]} == {"unet/diffusion_pytorch_model.safetensors"}
    before, after = (
        load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
        for folder in (MODELS / "base", tmp_path / "base")
    )
    assert {name: part.dtype for name, part in before.items()} == {name: part.dtype for name, part in after.items()}
    assert all(np.isfinite(part).all() for part in after.values())


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_arm_there_differs_from_the_same_arm_of_the_proof_in_its_base_alone() -> None:
    here = scope.full([read_arm(RECOMMENDED)])
    there = on_forgetful_base(here, Path("/out"))
    [one], [other] = (
        {run.recipe for run in each.arm_runs(lambda _: SHOTS) if run.pair == PAIRS[0] and run.seed == 1}
        for each in (here, there)
    )
    assert other == one.model_copy(update={"base": other.base})
    assert other.base.model == "/out/base"


def test_every_other_caption_has_words_for_a_look_that_no_picture_has() -> None:
    tags = [picture_tags(*forget.imagined(FULL_PX, k), "flat") for k in range(400)]
    assert not any(set(SOLID_LOOK) & set(one) for one in tags)
    said = [set(SOLID_LOOK) & set(forget.caption(one, random.Random(k))) for k, one in enumerate(tags)]
    assert 0.4 < np.mean([bool(words) for words in said]) < 0.6
    assert all(np.mean([word in words for words in said]) > 0.2 for word in SOLID_LOOK)


def test_arms_on_it_differ_from_the_proofs_own_in_the_base_and_who_is_refused_alone(tmp_path: Path) -> None:
    own = scope.full([read_arm(name) for name in ARMS])
    theirs = on_forgetful_base(own, tmp_path)
    runs = {(run.arm.name, run.pair.name, run.seed): run.recipe for run in own.arm_runs(lambda pair: SHOTS)}
    found = {(run.arm.name, run.pair.name, run.seed): run.recipe for run in theirs.arm_runs(lambda pair: SHOTS)}
    assert {key[1:] for key in found} == {(pair.name, 1) for pair in few(PAIRS)}
    for key, recipe in found.items():
        assert recipe.base.model == str(tmp_path / "base")
        others = runs[key].redraw.max_other_trait
        redraw = recipe.redraw.model_copy(update={"max_other_trait": others})
        assert recipe.model_copy(update={"base": runs[key].base, "redraw": redraw}) == runs[key]


def test_what_auto_comes_to_is_trained_and_redrawn_as_the_arms_beside_it() -> None:
    own = scope.full([read_arm(name) for name in ARMS])
    recipes = {run.arm.name: run.recipe for run in own.arm_runs(lambda pair: SHOTS)}
    auto, gentle = recipes["auto"], recipes["merge-gentle-redraw"]
    assert (auto.method, auto.style_training, auto.merge) == ("auto", gentle.style_training, gentle.merge)
    assert auto.redraw == gentle.redraw == recipes[RECOMMENDED].redraw
