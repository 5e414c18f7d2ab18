"""Arms are whole recipes, pairs share nothing, and the proof fits its time."""

from dataclasses import replace
from pathlib import Path

import pytest

from demo.proof import scope
from demo.proof.arms import (
    ASIDE,
    CORE,
    LONG_NAIVE,
    RECIPES,
    RECOMMENDED,
    STYLE_SETS,
    Arm,
    Screenshots,
    arm_names,
    common,
    overlaid,
    read_arm,
    recipe_of,
)
from demo.proof.crowd import crowd
from demo.proof.families import SCENERY, traits
from demo.proof.pairs import PAIRS, Pair, draw_screenshots, few
from demo.proof.scope import ArmRun, Scope, expected_seconds
from demo.proof.unmatched import unmatched
from demo.proof.variants import ON_MERGED
from demo.world.scene import Composition
from demo.world.screenshot import PLAN, screenshot_tags, screenshots
from demo.world.solid import FINISHES
from demo.world.tags import SOLID_LOOK, VOCABULARY
from lora_core.errors import RecipeError
from lora_core.judging.evidence import tags_of_prompt
from lora_core.recipe import Recipe
from lora_core.redraw.scenes import Figure, quotas, scenes

SHOTS = Screenshots(
    Path("/shots/style"), Path("/shots/character"), {name: Path(f"/shots/{name}") for name in STYLE_SETS}
)


def recipe(name: str, pair: Pair = PAIRS[0], *, quick: bool = False) -> Recipe:
    return recipe_of(read_arm(name), common(quick=quick), pair, 1, SHOTS)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
@pytest.mark.parametrize("name", arm_names())
def test_every_arm_is_a_whole_recipe_on_every_pair(name: str, pair: Pair) -> None:
    for quick in (False, True):
        whole = recipe(name, pair, quick=quick)
        assert (whole.name, whole.trigger) == (pair.target, pair.target)
        assert whole.captions.memorize == pair.character.identity_tags()
        assert whole.character_training.seed == 1
    assert read_arm(name).title


def test_no_two_arms_are_the_same_recipe_drawn_on_the_same_model() -> None:
    found = {(recipe(name).model_dump_json(), read_arm(name).on_merged) for name in arm_names()}
    assert len(found) == len(arm_names())


def test_the_core_arms_differ_in_what_keeps_the_look_out_in_redrawing_and_in_epochs_alone() -> None:
    def levers(name: str) -> tuple[int, int | None, tuple[str, ...]]:
        one = recipe(name)
        redrawn = one.redraw.epochs if one.redraw.use else None
        return one.character_training.epochs, redrawn, (*one.captions.add, *one.captions.face)

    words = ("realistic", "nose", "lips")
    assert {name: levers(name) for name in CORE} == {
        "naive": (3, None, ()),
        "naive-epochs-8": (8, None, ()),
        "captions-only": (3, None, words),
        "captions-only-redraw": (3, 8, words),
    }
    changed = dict.fromkeys(("redraw", "captions", "character_training"))
    plain = [recipe(name).model_copy(update=changed) for name in CORE]
    assert all(one == plain[0] for one in plain)


def test_a_plain_lora_is_trained_as_long_as_the_recommended_arms_last_one() -> None:
    long, last = recipe(LONG_NAIVE).character_training, recipe(RECOMMENDED).redraw
    assert long.epochs == last.epochs
    assert long == recipe("naive").character_training.model_copy(update={"epochs": last.epochs})


def test_the_ablation_of_its_epochs_trains_the_last_one_as_long_as_the_first() -> None:
    one = recipe("redraw-epochs-3")
    assert (one.redraw.epochs, one.character_training.epochs) == (0, 3)
    assert one.redraw.model_copy(update={"epochs": 8}) == recipe(RECOMMENDED).redraw


def test_a_gentle_style_stage_is_trained_as_the_character_is() -> None:
    one = recipe("merge-gentle")
    style, character = one.style_training, one.character_training
    assert (style.unet_lr, style.text_encoder_lr) == (character.unet_lr, character.text_encoder_lr)
    assert recipe("note-gentle").style_training == style


def test_an_ablation_of_redraw_draws_without_traits_where_it_says_so() -> None:
    named = recipe("captions-only-redraw").redraw
    assert {
        name
        for name in type(named).model_fields
        if getattr(named, name) != getattr(recipe("redraw-unnamed").redraw, name)
    } == {"traits", "max_other_trait"}
    figure = Figure("momo", ("1girl", "solo"), recipe("redraw-unnamed").redraw.traits)
    prompts = [scene.prompt for scene in scenes(figure, recipe("naive").plan, recipe("redraw-unnamed").redraw)]
    assert not {tag for prompt in prompts for tag in tags_of_prompt(prompt)} & set(PAIRS[0].character.identity_tags())
    off = recipe("redraw-unselected")
    assert sum(quotas(off.plan, off.redraw.pictures).values()) == off.redraw.candidates
    assert (off.redraw.worst_trait, off.redraw.max_other_trait, off.redraw.max_look) == (0, 1, 1)


def test_without_realistic_nose_and_lips_the_taggers_own_are_dropped_too() -> None:
    for name in ("naive", "merge-only", "no-realistic-nose-lips"):
        assert set(recipe(name).captions.drop) == set(SOLID_LOOK)


def test_the_notes_arm_changes_none_of_the_methods_own_numbers_but_the_length_of_the_style_stage() -> None:
    note = recipe("note")
    assert read_arm("note").table == {}
    assert (note.style_training.rank, note.character_training.rank) == (64, 32)
    assert (note.style_training.epochs, note.style_training.repeats) == (32, 10)
    assert (note.character_training.repeats, note.downscale.repeats, note.regularization.repeats) == (10, 2, 1)


def test_prompts_name_no_trait_of_anybody_and_only_what_the_world_knows() -> None:
    for prompt in recipe("note").sampling.prompts:
        tags = set(tags_of_prompt(prompt)) - {"{trigger}"}
        assert tags <= set(VOCABULARY)
        assert not tags & {tag for pair in PAIRS for tag in pair.character.identity_tags()}
        assert not tags & set(SOLID_LOOK)


def test_prompts_together_ask_for_everything_a_prompt_can_ask_for() -> None:
    asked = {tag for prompt in recipe("note").sampling.prompts for tag in tags_of_prompt(prompt)}
    assert all(asked & set(tags) for tags in SCENERY.values())


def test_there_are_eight_pairs_with_five_style_characters_in_all_looks_and_no_pair_shares_a_trait() -> None:
    assert len({pair.target for pair in PAIRS}) == len(PAIRS) == 8
    assert len({pair.style for pair in PAIRS}) == 5
    assert {pair.finish for pair in PAIRS} == set(FINISHES)
    for pair in PAIRS:
        assert not traits(pair.character).items() & traits(pair.style_character).items()


def test_few_pairs_have_different_style_characters() -> None:
    assert len({pair.style for pair in few(PAIRS)}) == len(few(PAIRS)) == 4
    assert few(PAIRS[:2]) == PAIRS[:1]  # both look like yuki


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_nobody_in_a_crowd_has_a_trait_of_the_target_and_all_differ(pair: Pair) -> None:
    people = crowd(pair.character, pair.target)
    assert len(set(people)) == 12
    own = set(traits(pair.character).items())
    assert not any(own & set(traits(one).items()) for one in people)
    assert people == crowd(pair.character, pair.target)


def test_a_crowds_screenshots_keep_to_the_plan_and_everybody_is_on_one(tmp_path: Path) -> None:
    plan: dict[Composition, int] = {"close-up": 1, "portrait": 2}
    folder = draw_screenshots(PAIRS[0], "crowd", tmp_path, plan)
    names = ["close-up_001.png", "portrait_001.png", "portrait_002.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert len({(folder / name).read_bytes() for name in names}) == 3


def test_an_unmatched_style_set_is_straight_on_throughout(tmp_path: Path) -> None:
    drawn: dict[Composition, int] = {"portrait": 4}
    screenshots(PAIRS[0].style_character, tmp_path / "drawn", 3, drawn, FINISHES[PAIRS[0].finish])
    tags = screenshot_tags(PAIRS[0].style_character, 3, drawn)
    first = next(name for name, seen in tags.items() if "straight-on" in seen)
    (kept,) = draw_screenshots(PAIRS[0], "unmatched", tmp_path, {"portrait": 1}).iterdir()
    assert kept.name == "portrait_001.png"
    assert kept.read_bytes() == (tmp_path / "drawn" / first).read_bytes()


def test_an_unmatched_style_set_has_as_many_pictures_in_other_framings() -> None:
    assert unmatched({"close-up": 1, "portrait": 2, "cowboy_shot": 5}) == (
        {"close-up": 5, "portrait": 2, "cowboy_shot": 1}
    )


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_there_are_straight_on_pictures_enough_for_a_whole_unmatched_set(pair: Pair) -> None:
    drawn = {composition: 4 * count for composition, count in unmatched(PLAN).items()}
    facing = [name for name, tags in screenshot_tags(pair.style_character, 3, drawn).items() if "straight-on" in tags]
    for composition, count in unmatched(PLAN).items():
        assert sum(name.startswith(composition) for name in facing) >= count


def test_an_arm_learns_the_look_from_the_style_set_that_it_names() -> None:
    found = [recipe(name) for name in ("style-crowd", "note", "note-gentle-unmatched")]
    assert [one.style.images for one in found] == ["/shots/crowd", "/shots/style", "/shots/unmatched"]


def test_an_arm_like_another_makes_its_changes_too() -> None:
    high, plain = (
        recipe_of(read_arm(name), common(quick=False), PAIRS[0], 1, SHOTS) for name in ("naive-high-cfg", "naive")
    )
    assert high.sampling.cfg == 5
    assert high == plain.model_copy(update={"sampling": plain.sampling.model_copy(update={"cfg": 5.0})})
    assert not read_arm("merge-crowd").table["regularization"]["use"]
    assert read_arm("merge-crowd").style_set == "crowd"


def test_an_arm_that_is_drawn_on_the_merged_model_trains_what_the_one_it_is_like_does(tmp_path: Path) -> None:
    for name in ON_MERGED:
        arm = read_arm(name)
        assert arm.on_merged
        assert not read_arm(arm.like).on_merged
        assert recipe(name) == recipe(arm.like)
        assert recipe(name).merge.use
    (tmp_path / "like.toml").write_text(f'# like it\nlike = "{ON_MERGED[0]}"\n')
    assert read_arm(str(tmp_path / "like.toml")).on_merged
    (tmp_path / "mine.toml").write_text('# mine\nlike = "note"\ndrawn_on = "moon"\n')
    with pytest.raises(RecipeError, match=r"mine\.toml: drawn_on: got 'moon'; allowed is 'merged'"):
        read_arm(str(tmp_path / "mine.toml"))


def test_a_later_table_wins_and_leaves_the_rest() -> None:
    below = {"a": 1, "b": {"c": 2, "d": 3}}
    assert overlaid(below, {"b": {"d": 4}}, {"e": 5}) == {"a": 1, "b": {"c": 2, "d": 4}, "e": 5}
    assert below == {"a": 1, "b": {"c": 2, "d": 3}}


def test_a_slip_in_an_arm_is_named_with_the_arm() -> None:
    slip = Arm("mine", "", {"merge": {"wieght": 1}})
    with pytest.raises(RecipeError, match=r"arm mine: unknown option 'merge\.wieght'; did you mean 'weight'"):
        recipe_of(slip, common(quick=False), PAIRS[0], 1, SHOTS)


def test_an_arm_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("# twice the merge\n[merge]\nweight = 2.0\n")
    arm = read_arm(str(tmp_path / "mine.toml"))
    assert (arm.name, arm.title, arm.table) == ("mine", "twice the merge", {"merge": {"weight": 2.0}})
    with pytest.raises(RecipeError, match="no such arm; known: naive, naive-epochs-8, captions-only"):
        read_arm("nope")


def test_common_and_quick_are_no_arms() -> None:
    assert {path.stem for path in RECIPES.glob("*.toml")} == {*arm_names(), "common", "quick"}


def expected_total(covered: Scope) -> float:
    pieces: dict[str, float] = {}
    for run in covered.arm_runs(lambda pair: SHOTS):
        pieces |= expected_seconds(run, covered)
    return sum(pieces.values())


def test_the_proof_fits_its_time_on_two_cores() -> None:
    core, every = ([read_arm(name) for name in names] for names in (CORE, set(arm_names()) - set(ASIDE)))
    assert expected_total(scope.full(core)) / 2 < 4 * 3600
    assert expected_total(scope.full(every)) / 2 < 12 * 3600
    assert expected_total(scope.quick(core)) / 2 < 600


def test_what_runs_share_counts_once() -> None:
    """38 pictures: style 48 steps × 32 epochs; 13 + 70 pictures of checks and gates."""
    covered = scope.full([])
    runs = [ArmRun(read_arm(name), PAIRS[0], 1, recipe(name)) for name in ("merge-only", "note")]
    first, second = (expected_seconds(run, covered) for run in runs)
    shared = set(first) & set(second)
    assert len(shared) == 2
    style = next(seconds for name, seconds in first.items() if name.startswith("style"))
    assert style == pytest.approx(1536 * 0.5 + 83 * 0.65)


def test_core_arms_run_on_all_pairs_first_and_the_others_on_four() -> None:
    covered = scope.full([read_arm(name) for name in ("rank-4", "naive")])
    runs = [(run.arm.name, run.pair.name, run.seed) for run in covered.arm_runs(lambda pair: SHOTS)]
    core = [("naive", pair.name, seed) for seed in (1, 2) for pair in PAIRS]
    assert runs == core + [("rank-4", pair.name, 1) for pair in few(PAIRS)]


def test_whatever_is_finished_counts_on_every_pair_and_seed() -> None:
    covered = scope.full([read_arm("rank-4")])
    runs = [(run.pair.name, run.seed) for run in replace(covered, alike=True).arm_runs(lambda pair: SHOTS)]
    assert runs == [(pair.name, seed) for seed in (1, 2) for pair in PAIRS]


def test_screenshots_are_drawn_once(tmp_path: Path) -> None:
    folder = draw_screenshots(PAIRS[0], "style", tmp_path, {"portrait": 1})
    assert [path.name for path in folder.iterdir()] == ["portrait_001.png"]
    before = (folder / "portrait_001.png").stat().st_mtime_ns
    assert draw_screenshots(PAIRS[0], "style", tmp_path, {"portrait": 1}) == folder
    assert (folder / "portrait_001.png").stat().st_mtime_ns == before
    assert draw_screenshots(PAIRS[0], "style", tmp_path, {"portrait": 2}) != folder
