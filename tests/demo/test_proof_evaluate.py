"""From readings to results, on a proof of a few made-up pictures."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from demo.proof.arms import CORE, LONG_NAIVE, NAIVE, PILOT, RECOMMENDED, Screenshots, common, read_arm, recipe_of
from demo.proof.claims import advised, cannot_win, claim, claim_against
from demo.proof.docs import (
    DOCS,
    PAGES,
    README_MARKS,
    REDRAW_FILE,
    UNKNOWN_FILE,
    read_results,
    render,
    with_table,
    write_docs,
)
from demo.proof.evaluate import arm_figures, base_levels, contrast, contrasts_of, gate_rows
from demo.proof.families import traits
from demo.proof.former import beside
from demo.proof.gates import Gate
from demo.proof.hidden import HIDDEN_FILE, Kept
from demo.proof.measures import Reading
from demo.proof.output import one_writer, results_of, setting_of
from demo.proof.pairs import PAIRS, Pair
from demo.proof.pictures import charts
from demo.proof.results import Asked, Contrast, Results, RunFigures
from demo.proof.run import Failure, Gates, Outcome
from demo.proof.scope import ArmRun, full, quick
from demo.proof.tables import contrast_table, percent_of, short, short_table, size, whole
from lora_core.errors import RecipeError
from lora_core.judging.bootstrap import Score
from lora_core.judging.look import LookReport, WordMove
from lora_core.judging.metrics import two_digits
from lora_core.refs import CheckpointRef
from lora_core.sampling.samples import NO_LORA, Sample, Samples

PROMPTS = ("momo, upper body, smile", "momo, portrait, night")
SHOTS = Screenshots(Path("/shots/style"), Path("/shots/character"))


def reading(pair: Pair, identity: float, leak: float) -> Reading:
    """A picture in which every trait has one probability and every tag of the look another."""
    own = dict.fromkeys(traits(pair.character).values(), identity)
    asked = {"upper_body": 0.9, "smile": 0.9, "portrait": 0.9, "night": 0.9}
    return Reading(tags=own | asked | dict.fromkeys(("realistic", "3d", "nose", "lips"), leak), solid=leak)


def arm_run(name: str, seed: int = 1, pair: Pair = PAIRS[0]) -> ArmRun:
    arm = read_arm(name)
    return ArmRun(arm, pair, seed, recipe_of(arm, common(quick=True), pair, seed, SHOTS))


def outcome(
    name: str, identity: float, leak: float, seed: int = 1, *, gates: bool | None = None, pair: Pair = PAIRS[0]
) -> Outcome:
    """Two prompts × two seeds without the LoRA (nothing to see) and at two epochs, the first with half of it all."""
    readings: dict[str, Reading] = {}
    samples = []
    for number_, epoch in enumerate((NO_LORA, "1", "2")):
        for index, prompt in enumerate(PROMPTS):
            for noise in (1, 2):
                image = f"{len(readings):064x}"
                share = number_ / 2
                readings[image] = reading(pair, identity * share, leak * share)
                samples.append(
                    Sample(
                        epoch=epoch, prompt_index=index, prompt=prompt, seed=noise, file=f"{epoch}/{index}-{noise}.png",
                        image=image, width=8, height=8,
                    )
                )  # fmt: skip
    drawn = Samples(negative="", lora_files=(("1", "a"), ("2", "b")), samples=tuple(samples))
    redrawn = True if name.endswith("redraw") else None
    return Outcome(
        arm_run(name, seed, pair), drawn, readings, "0" * 64, None if gates is None else made_gates(gates), redrawn
    )


def made_gates(passed: bool) -> Gates:
    one = Gate(look=1.0 if passed else 0.5, character=1.0, white=0.0, together=0.0)
    return Gates(merged_model=CheckpointRef(sha256="a" * 64), style=one, merged=one)


NAIVES = [outcome("naive", 0.6, 0.8, seed) for seed in (1, 2)]
NOTE = [outcome("note", 0.6, 0.2, seed, gates=seed == 1) for seed in (1, 2)]
NUDGES = (0.0, 0.02, -0.02, 0.01, -0.01, 0.03, 0.0, -0.03)
"""By which pairs differ."""


def results() -> Results:
    scope = quick([read_arm("naive"), read_arm("note"), read_arm("rank-4")])
    failed = [Failure(arm_run("rank-4"), "the loss is not finite")]
    return results_of(scope, setting_of(scope, NAIVES[0].run.recipe), [*NAIVES, *NOTE], failed)


def proof(**levels: tuple[float, float]) -> Results:
    """Of eight pairs and two seeds: arm (with _ for -) → identity and leak, a little different from pair to pair."""
    done = [
        outcome(name.replace("_", "-"), identity + nudge * (name != "naive"), leak, seed, pair=pair)
        for name, (identity, leak) in levels.items()
        for seed in (1, 2)
        for pair, nudge in zip(PAIRS, NUDGES, strict=True)
    ]
    scope = full([read_arm(name.replace("_", "-")) for name in levels])
    return results_of(scope, setting_of(scope, done[0].run.recipe), done, [])


def test_an_arm_has_the_figures_of_each_epoch_over_its_runs_and_of_each_run() -> None:
    found = arm_figures(read_arm("naive"), NAIVES)
    assert [epoch.epoch for epoch in found.epochs] == ["1", "2"]
    assert found.epochs[0].figures["identity"].mean == pytest.approx(0.3)
    assert found.last.figures["identity"].mean == pytest.approx(0.6)
    assert found.last.figures["identity: ears"].mean == pytest.approx(0.6)
    assert found.last.figures["leak"].mean == found.last.figures["leak (probe)"].mean == pytest.approx(0.8)
    assert found.last.figures["leak"].samples == 8
    assert [(run.pair, run.seed) for run in found.runs] == [("momo-yuki", 1), ("momo-yuki", 2)]
    assert found.runs[0].figures["identity"] == pytest.approx(0.6)


def test_an_arms_figures_are_of_every_runs_own_last_epoch() -> None:
    longer, shorter = outcome("naive", 0.8, 0.0), outcome("naive", 0.4, 0.0, seed=2)
    first = tuple(one for one in shorter.samples.samples if one.epoch != "2")
    cut = shorter.samples.model_copy(update={"lora_files": (("1", "a"),), "samples": first})
    found = arm_figures(read_arm("naive"), [longer, replace(shorter, samples=cut)])
    assert [run.figures["identity"] for run in found.runs] == pytest.approx([0.8, 0.2])
    assert found.last.figures["identity"].mean == pytest.approx(0.5)
    assert found.epochs[-1].figures["identity"].mean == pytest.approx(0.8)


def test_an_arm_misses_the_gate_when_one_merged_model_does_not_draw_the_look() -> None:
    found = arm_figures(read_arm("note"), NOTE)
    assert (found.merges, found.gates_passed, found.misses_gates) == (True, 1, True)
    assert not arm_figures(read_arm("note"), NOTE[:1]).misses_gates
    naive = arm_figures(read_arm("naive"), NAIVES)
    assert (naive.merges, naive.misses_gates) == (False, False)


def test_the_bases_own_level_counts_a_pairs_pictures_once() -> None:
    assert base_levels([*NAIVES, *NOTE])["identity"].samples == 4


def test_arms_that_share_a_merged_model_share_a_row() -> None:
    rows = gate_rows([*NOTE, outcome("merge-only", 0.5, 0.1, gates=True)])
    assert [(row.arms, row.seed, row.passed) for row in rows] == [
        (("note", "merge-only"), 1, True),
        (("note",), 2, False),
    ]


def test_arms_are_compared_picture_by_picture_where_both_have_them() -> None:
    found = contrast("note", "naive", [NAIVES[0], *NOTE])
    assert found is not None
    assert found.runs == 1
    assert found.differences["leak"].mean == pytest.approx(-0.6)
    assert found.differences["identity"].mean == pytest.approx(0.0)
    assert contrast("note", "rank-4", [*NAIVES, *NOTE]) is None


def compared(identity: tuple[float, float], leak: tuple[float, float], p: float = 0.01, pairs: int = 8) -> Contrast:
    """An arm against naive, by intervals and one p-value for both."""
    between = {
        name: Score(mean=(low + high) / 2, low=low, high=high, samples=9)
        for name, (low, high) in (("identity", identity), ("leak", leak))
    }
    return Contrast(
        arm="note", against="naive", runs=pairs, pairs=pairs, differences=between, theirs={},
        p=dict.fromkeys(between, p),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("identity", "leak", "verdict"),
    [
        ((0.01, 0.1), (-0.9, -0.8), "beats"),
        ((0.0, 0.1), (-0.9, -0.8), "keeps"),
        ((-0.02, 0.1), (-0.9, -0.8), "keeps"),
        ((-0.03, 0.1), (-0.9, -0.8), "undecided"),
        ((0.01, 0.1), (-0.9, 0.1), "undecided"),
        ((-0.2, -0.03), (-0.9, -0.8), "refuted"),
        ((0.01, 0.1), (0.0, 0.1), "refuted"),
    ],
)
def test_the_claim_is_decided_by_whole_intervals(
    identity: tuple[float, float], leak: tuple[float, float], verdict: str
) -> None:
    assert claim(compared(identity, leak)) == verdict


def test_without_two_pairs_the_claim_is_untested() -> None:
    assert claim(None) == claim(compared((0.01, 0.1), (-0.9, -0.8), pairs=1)) == "untested"


@pytest.mark.parametrize(
    ("identity", "leak", "p", "dropped"),
    [
        ((-0.2, -0.1), (-0.01, 0.01), 0.01, True),  # less of the character, as much of the look
        ((-0.2, -0.1), (-0.01, 0.01), 0.06, False),  # perhaps by chance
        ((-0.2, -0.1), (-0.2, -0.1), 0.01, False),  # less of both
        ((-0.01, 0.01), (0.5, 0.7), 0.01, True),  # more of the look
        ((0.1, 0.2), (0.5, 0.7), 0.01, False),  # more of both
    ],
)
def test_an_arm_is_dropped_when_it_is_behind_for_sure_and_ahead_in_nothing(
    identity: tuple[float, float], leak: tuple[float, float], p: float, dropped: bool
) -> None:
    assert cannot_win(compared(identity, leak, p)) == dropped
    assert not cannot_win(None)


def test_what_is_advised_has_most_of_the_character_where_the_look_is_out() -> None:
    arms = proof(naive=(0.8, 0.9), captions_only=(0.5, 0.0), captions_only_redraw=(0.6, 0.05)).arms
    best = advised(arms, CORE)
    assert best is not None
    assert best.name == "captions-only-redraw"
    least = advised(arms, ["naive"])
    assert least is not None
    assert least.name == "naive"
    assert advised(arms, ["merge-gentle"]) is None


def test_p_values_are_corrected_for_all_arms_and_main_figures_that_are_compared() -> None:
    """Two arms against naive with four figures each, all differing by pairs alone: the smallest of eight is times 8."""
    names = ["naive", "captions-only", "merge-gentle"]
    done = [
        outcome(name, level + nudge * (name != "naive") * 4, leak + nudge * (name != "naive"), pair=pair)
        for name, level, leak in zip(names, (0.5, 0.52, 0.6), (0.9, 0.5, 0.5), strict=True)
        for pair, nudge in zip(PAIRS, NUDGES, strict=True)
    ]
    found = [one for one in contrasts_of([read_arm(name) for name in names], done) if one.against == NAIVE]
    raw = {
        (one.arm, name): p
        for one in (contrast(each.arm, NAIVE, done) for each in found)
        if one
        for name, p in one.p.items()
    }
    corrected = {(one.arm, name): p for one in found for name, p in one.p.items()}
    assert len(raw) == 8
    least = min(raw, key=raw.__getitem__)
    assert corrected[least] == pytest.approx(8 * raw[least])
    assert all(corrected[key] >= raw[key] for key in raw)


def test_results_begin_with_the_recommended_method_against_naive() -> None:
    found = proof(naive=(0.6, 0.9), captions_only_redraw=(0.7, 0.05))
    data = json.loads(found.model_dump_json())
    assert next(iter(data)) == "best"
    assert list(data["best"]) == ["arm", "delta_identity", "leak", "adherence", "pairs", "seeds"]
    assert (data["best"]["arm"], data["best"]["pairs"], data["best"]["seeds"]) == (RECOMMENDED, 8, 2)
    mean, low, high = data["best"]["delta_identity"]
    assert low < mean < high
    assert mean == pytest.approx(0.1)
    assert data["best"]["leak"] == pytest.approx([0.05] * 3)
    assert data["best"]["adherence"] == pytest.approx(0.9)
    assert proof(naive=(0.6, 0.9)).best is None


def test_results_survive_their_file(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results().model_dump_json())
    assert read_results(tmp_path / "results.json") == results()
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(RecipeError, match="not results of this version"):
        read_results(tmp_path / "results.json")


def test_tables_show_every_arm_run_gate_and_failure() -> None:
    text = whole(results())
    assert "| naive | a plain LoRA: pruned captions, straight on the base | 2 | 0.60 (0.60 to 0.60) | 0.80" in text
    assert "| note | the note's method, whole* | 2 | 0.60" in text
    assert "| 1 of 2 passed |" in text
    assert "| momo-yuki | 1 | 0.60 / 0.80 |" in text
    assert "| momo-yuki | 2 | note | 50 % | not passed |" in text
    assert "- rank-4 on momo-yuki, seed 1: the loss is not finite" in text


def test_a_difference_is_bold_where_it_holds_among_all_arms_and_its_interval_as_shown_says_so() -> None:
    for low, high, p, cell in (
        (0.01, 0.11, 0.01, "**0.06 (0.01 to 0.11)**"),
        (-0.11, -0.01, 0.01, "**−0.06 (−0.11 to −0.01)**"),
        (0.01, 0.11, 0.06, "0.06 (0.01 to 0.11)"),
        (0.002, 0.118, 0.04, "0.06 (0.00 to 0.12)"),
    ):
        assert f"| note | 8 | 8 | {cell} |" in contrast_table([compared((low, high), (0.1, 0.2), p)], "naive")


@pytest.mark.parametrize(
    ("redrawn", "words"),
    [
        (None, "**The claim is not tested yet.**"),
        ((0.7, 0.05), "**Redrawn beats a plain LoRA in both**"),
        ((0.61, 0.05), "**The look is out, and no less of the character is in.**"),
        ((0.59, 0.05), "**These runs do not decide** whether"),
        ((0.5, 0.05), "some of the character is lost"),
        ((0.7, 0.9), "the look is not less"),
    ],
)
def test_the_pages_words_follow_from_the_figures(
    redrawn: tuple[float, float] | None, words: str, tmp_path: Path
) -> None:
    found = proof(naive=(0.6, 0.9), **({"captions_only_redraw": redrawn} if redrawn else {}))
    page = render("proof.md", found, tmp_path)
    assert words in page
    assert short_table(found, CORE) in page
    assert "| `captions-only` | not run yet |" in page
    assert "not finished" not in page
    assert found.setting.command in page


def test_the_claim_is_what_holds_against_each_plain_lora(tmp_path: Path) -> None:
    """More than the short one has, less than the one that is trained as long."""
    found = proof(naive=(0.6, 0.9), naive_epochs_8=(0.75, 0.9), captions_only_redraw=(0.7, 0.05))
    assert found.best
    assert found.best.delta_identity[0] == pytest.approx(0.1)
    assert found.claim == "refuted"
    page = render("proof.md", found, tmp_path)
    assert "**The claim does not hold**, that `captions-only-redraw` shows" in page
    assert "- Against `naive` identity differs by 0.10" in page
    assert "- Against `naive-epochs-8` identity differs by −0.05" in page
    alone = proof(naive=(0.6, 0.9), captions_only_redraw=(0.7, 0.05))
    assert alone.claim == "beats"
    assert "- Against `naive-epochs-8` it has not run yet." in render("proof.md", alone, tmp_path)


def test_of_several_claims_the_weakest_tested_one_stands() -> None:
    beats, undecided = compared((0.01, 0.1), (-0.9, -0.8)), compared((-0.03, 0.1), (-0.9, -0.8))
    untested = compared((-0.2, -0.1), (0.1, 0.2), pairs=1)
    assert claim_against([beats, undecided, untested]) == "undecided"
    assert claim_against([untested]) == claim_against([]) == "untested"


def test_the_page_compares_once_more_without_the_pair_that_the_epochs_were_chosen_on(tmp_path: Path) -> None:
    """Only on that pair is there a gain."""
    done = [
        outcome(name, level, 0.1, pair=pair)
        for name in (NAIVE, LONG_NAIVE, RECOMMENDED)
        for pair in PAIRS
        for level in [0.9 if (name, pair.name) == (RECOMMENDED, PILOT) else 0.5]
    ]
    scope = full([read_arm(name) for name in (NAIVE, LONG_NAIVE, RECOMMENDED)])
    found = results_of(scope, setting_of(scope, done[0].run.recipe), done, [])
    assert [(one.against, one.pairs) for one in found.without_pilot] == [(NAIVE, 7), (LONG_NAIVE, 7)]
    assert [one.differences["identity"].mean for one in found.without_pilot] == pytest.approx([0.0, 0.0])
    page = render("proof.md", found, tmp_path)
    assert "chosen**: in a pilot on `momo-yuki` with training seed 1" in page
    assert "Without that pair it differs from `naive-epochs-8` by 0.00 (0.00 to 0.00) in identity" in page


def test_a_proof_of_fewer_pairs_says_that_it_is_not_finished(tmp_path: Path) -> None:
    done = [
        outcome(name, level, 0.1, pair=pair)
        for name, level in (("naive", 0.5), (RECOMMENDED, 0.6))
        for pair in PAIRS[:3]
    ]
    scope = full([read_arm("naive"), read_arm(RECOMMENDED)])
    page = render("proof.md", results_of(scope, setting_of(scope, done[0].run.recipe), done, []), tmp_path)
    assert "over 3 pairs and 1 training seed; **the proof asks for 8 and 2, and is not finished**" in page


def test_what_to_use_is_the_programs_choice(tmp_path: Path) -> None:
    found = proof(naive=(0.8, 0.9), captions_only=(0.5, 0.0), captions_only_redraw=(0.6, 0.05), merge_gentle=(0.5, 0.5))
    page = render("proof.md", found, tmp_path)
    assert "says) | `captions-only-redraw` | 0.60" in page
    assert "knows no word for it | `merge-gentle` | 0.50" in page
    assert "0.50 (0.50 to 0.50), not within 0.10 |" in page
    assert "Redrawing changes `captions-only` by 0.10" in page


def test_the_page_shows_what_is_kept_of_traits_that_no_tag_names_once_that_is_measured(tmp_path: Path) -> None:
    found = proof(naive=(0.6, 0.9))
    assert "- Traits that no tag names are not measured." in render("proof.md", found, tmp_path)
    score = Score(mean=0.4, low=0.3, high=0.5, samples=4)
    one = Kept(
        arm="naive",
        pair="rika-yuki",
        seed=1,
        trait="curl",
        levels={"last LoRA": 0.5},
        rise=score,
        identity=0.7,
        leak=1.0,
    )
    (tmp_path / HIDDEN_FILE).write_text(f"[{one.model_dump_json()}]")
    page = render("proof.md", found, tmp_path)
    assert "not measured." not in page
    assert (
        "| naive | curl (rika-yuki, seed 1) | – | – | – | – | 0.50 | 0.40 (0.30 to 0.50) | 1.00 | 0.70 | 1.00 |" in page
    )


def test_the_size_of_an_arm_says_that_pairs_have_different_numbers_of_seeds() -> None:
    def ran(*runs: tuple[str, int]) -> str:
        arm = proof(naive=(0.6, 0.9)).arms[0]
        return size(arm.model_copy(update={"runs": tuple(RunFigures(pair=pair, seed=seed) for pair, seed in runs)}))

    assert ran(("a", 1), ("b", 1)) == "2 × 1"
    assert ran(("a", 1), ("b", 1), ("a", 2), ("b", 2)) == "2 × 2"
    assert ran(("a", 1), ("b", 1), ("b", 2)) == "2 × 1 to 2"
    assert size(None) == "0 × 0"


def test_dropped_arms_are_named_on_the_page_of_all_arms(tmp_path: Path) -> None:
    page = render(
        "proof/arms.md", proof(naive=(0.6, 0.9), captions_only_redraw=(0.7, 0.05), rank_4=(0.3, 0.9)), tmp_path
    )
    assert "That is so of `rank-4`." in page
    assert "Against `captions-only-redraw`:" in page
    assert "That is so of none yet." in render("proof/arms.md", proof(naive=(0.6, 0.9)), tmp_path)


def test_the_pages_are_written_beside_their_pictures_and_figures_and_into_readme(tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    found = results()
    (out / "results.json").write_text(found.model_dump_json())
    Image.new("RGBA", (8, 8)).save(out / "sheet-momo-yuki.png")
    Image.new("RGBA", (8, 8)).save(out / "overview.png")
    charts(found)["identity-against-leak.png"].save(out / "identity-against-leak.png")
    (tmp_path / "README.md").write_text("before\n" + "old\n".join(README_MARKS) + "after\n")
    page = write_docs(out, docs).read_text()
    assert "(proof/overview.jpg)" in page
    assert "(sheet-momo-yuki.jpg)" in (docs / "proof" / "arms.md").read_text()
    assert "(identity-against-leak.png)" in (docs / "proof" / "arms.md").read_text()
    assert sorted(file.name for file in (docs / "proof").iterdir()) == [
        "arms.md",
        "identity-against-leak.png",
        "overview.jpg",
        "results.json",
        "sheet-momo-yuki.jpg",
    ]
    readme = (tmp_path / "README.md").read_text()
    assert "old" not in readme
    assert f"{README_MARKS[0]}{short_table(found, CORE)}\n{README_MARKS[1]}after\n" in readme


def forgetful(**levels: tuple[float, float]) -> Results:
    """The same of a base that does not know the look, of which one word was asked."""
    share = Score(mean=0.05, low=-0.01, high=0.11, samples=4)
    report = LookReport(
        tried=(), measured_by=("realistic",), moves=(WordMove(word="realistic, nose, lips", share=share),),
        method="note", reason="no word moves it",
    )  # fmt: skip
    found = proof(**levels)
    setting = found.setting.model_copy(update={"aside": "unknown-look"})
    return found.model_copy(update={"setting": setting, "asked": (Asked(base="forgetful", report=report),)})


def test_what_to_use_where_no_word_is_known_is_measured_on_a_base_that_knows_none(tmp_path: Path) -> None:
    known = proof(naive=(0.8, 0.9), captions_only=(0.5, 0.0), merge_gentle=(0.7, 0.0), auto=(0.9, 0.0))
    assert "| knows no word for it | `merge-gentle` | 0.70" in render("proof.md", known, tmp_path)
    unknown = forgetful(naive=(0.8, 0.9), captions_only=(0.9, 0.8), merge_gentle=(0.5, 0.0), auto=(0.82, 0.03))
    (tmp_path / UNKNOWN_FILE).write_text(unknown.model_dump_json())
    row = next(line for line in render("proof.md", known, tmp_path).splitlines() if "knows no word" in line)
    assert "(proof/unknown-look.md)" in row
    assert "| `auto` | 0.82" in row


def test_the_page_of_a_base_that_does_not_know_the_look_says_what_its_figures_say(tmp_path: Path) -> None:
    found = forgetful(naive=(0.8, 0.9), captions_only=(0.9, 0.8), merge_gentle=(0.5, 0.0), auto=(0.7, 0.03))
    page = render("proof/unknown-look.md", found, tmp_path)
    assert "| `realistic, nose, lips` | 0.05 (−0.01 to 0.11) |" in page
    assert "**What to use**: `auto`" in page
    assert "some of the character is lost" in page
    assert "with this base: `note` with redraw, for no word moves it." in page
    assert "What the merged models draw" not in page
    assert "decides nothing" not in page


def test_a_proof_of_a_base_that_does_not_know_the_look_leaves_the_others_figures_and_readme(tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    (out / "results.json").write_text(forgetful(naive=(0.8, 0.9), auto=(0.7, 0.03)).model_dump_json())
    Image.new("RGBA", (8, 8)).save(out / "overview.png")
    (tmp_path / "README.md").write_text(readme := "before\n" + "old\n".join(README_MARKS) + "after\n")
    assert write_docs(out, docs) == docs / "proof" / "unknown-look.md"
    assert "(unknown-look.jpg)" in (docs / "proof" / "unknown-look.md").read_text()
    assert sorted(file.name for file in docs.rglob("*.*")) == ["unknown-look.jpg", UNKNOWN_FILE, "unknown-look.md"]
    assert (tmp_path / "README.md").read_text() == readme


def test_arms_that_a_former_proof_ran_stay_on_the_page_beside_those_that_were_run_again(tmp_path: Path) -> None:
    former = forgetful(naive=(0.8, 0.9), auto=(0.7, 0.03))
    page = tmp_path / "docs" / "proof" / UNKNOWN_FILE
    page.parent.mkdir(parents=True)
    page.write_text(former.model_dump_json())
    (tmp_path / "results.json").write_text(forgetful(naive=(0.8, 0.9), captions_only=(0.9, 0.8)).model_dump_json())
    for _ in range(2):  # the second time from what the first one wrote
        written = write_docs(tmp_path, tmp_path / "docs").read_text()
        both = read_results(page)
        assert [arm.name for arm in both.arms] == ["naive", "captions-only", "auto"]
        assert both.arm("auto") == former.arm("auto")
        assert both.contrast("auto", "naive") == former.contrast("auto", "naive")
        assert "\n`auto`: from an earlier run" in written


def test_a_former_proof_that_counted_less_is_no_other_one() -> None:
    now, former = forgetful(naive=(0.8, 0.9)), forgetful(naive=(0.8, 0.9), auto=(0.7, 0.03))
    arm, other = former.arms
    had = [{name: value for name, value in run.figures.items() if name != "others"} for run in arm.runs]
    fewer = tuple(run.model_copy(update={"figures": own}) for run, own in zip(arm.runs, had, strict=True))
    less = former.model_copy(update={"arms": (arm.model_copy(update={"runs": fewer}), other)})
    assert [one.name for one in beside(now, less).arms] == ["naive", "auto"]


def test_a_former_proof_that_disagrees_is_refused() -> None:
    now, former = forgetful(naive=(0.8, 0.9)), forgetful(naive=(0.7, 0.9), auto=(0.7, 0.03))
    with pytest.raises(RecipeError, match="naive on akane-zara, seed 1, came to other figures than in the former"):
        beside(now, former)
    other = former.model_copy(update={"setting": former.setting.model_copy(update={"prompts": ("a cat",)})})
    with pytest.raises(RecipeError, match="the former results have other prompts"):
        beside(now, other)


def test_of_arms_with_the_look_out_the_one_whose_identity_is_surest_is_advised() -> None:
    many = proof(auto=(0.6, 0.0), captions_only=(0.6, 0.0))
    sure, unsure = many.arms
    few_pairs = sure.last.figures["identity"].model_copy(update={"mean": 0.65, "low": 0.4})
    last = unsure.last.model_copy(update={"figures": {**unsure.last.figures, "identity": few_pairs}})
    found = advised((sure, unsure.model_copy(update={"last": last})), [sure.name, unsure.name])
    assert found == sure


def test_the_page_of_redrawings_parts_sets_each_beside_the_recommended_arm_and_leaves_the_rest(tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    found = proof(
        naive=(0.6, 0.9),
        captions_only_redraw=(0.7, 0.0),
        redraw_unselected=(0.5, 0.2),
        redraw_from_screenshots=(0.8, 0.0),
    )
    found = found.model_copy(update={"setting": found.setting.model_copy(update={"aside": "redraw"})})
    (out / "results.json").write_text(found.model_dump_json())
    Image.new("RGBA", (8, 8)).save(out / "overview.png")
    assert write_docs(out, docs) == docs / "proof" / "redraw.md"
    page = (docs / "proof" / "redraw.md").read_text()
    assert "(redraw.jpg)" in page
    assert "**`redraw-from-screenshots`** against the plain LoRA:" in page
    assert "more of the character and less of the look" in page
    assert re.search(r"\| redraw-unselected \| \d", page)
    assert sorted(file.name for file in docs.rglob("*.*")) == ["redraw.jpg", REDRAW_FILE, "redraw.md"]


def test_the_page_of_the_style_stage_sets_each_dose_beside_the_gentle_one_and_tells_what_is_left(
    tmp_path: Path,
) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    found = proof(
        naive=(0.6, 0.9), captions_only_redraw=(0.7, 0.0), merge_gentle=(0.5, 0.1), merge_gentle_half=(0.55, 0.4)
    )
    found = found.model_copy(update={"setting": found.setting.model_copy(update={"aside": "style"})})
    (out / "results.json").write_text(found.model_dump_json())
    assert write_docs(out, docs) == docs / "proof" / "style.md"
    page = (docs / "proof" / "style.md").read_text()
    (row,) = re.findall(r"\| merge-gentle-half \| merge-gentle \| 8 \| 16 \| (.*?) \|", page)
    assert row.startswith("**0.05")
    assert "some of the character is lost" in page
    assert "Not run on these pairs yet: `captions-only`, `naive-negative`" in page
    assert "That is so of `merge-gentle` and `merge-gentle-half`" in page


@pytest.mark.parametrize("page", [page for page, source in PAGES.items() if (DOCS / "proof" / source).is_file()])
def test_every_page_in_docs_is_the_programs_own_to_the_letter(page: str) -> None:
    assert (DOCS / page).read_text() == render(page, read_results(DOCS / "proof" / PAGES[page]), DOCS / "proof")


def test_readmes_table_is_the_programs_own() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    assert README_MARKS[0] in readme
    assert with_table(readme, read_results(DOCS / "proof" / "results.json")) == readme


def test_the_command_runs_the_same_arms_again() -> None:
    expected = "python -m demo.proof --quick --arms naive note rank-4 --pairs momo-yuki --seeds 1"
    assert results().setting.command == expected


def test_the_chart_is_1000_pixels_wide_and_shows_every_arm_in_its_colour() -> None:
    picture = charts(proof(naive=(0.6, 0.9), captions_only=(0.5, 0.0)))["identity-against-leak.png"]
    assert picture.width == 1000
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {(0xD5, 0x5E, 0x00), (0xE6, 0x9F, 0x00)} <= colours


def test_a_variant_is_shown_beside_the_arm_it_changes_in_the_runs_that_both_have() -> None:
    weaker = outcome("style-weaker", 0.7, 0.1, gates=True)
    note = [outcome("note", 0.6, 0.2, gates=True), outcome("note", 0.0, 0.9, seed=2, gates=True)]
    scope = quick([read_arm("note"), read_arm("style-weaker"), read_arm("naive-high-cfg")])
    found = results_of(
        scope, setting_of(scope, note[0].run.recipe), [*note, weaker, outcome("naive-high-cfg", 0.5, 0.5)], []
    )
    beside = found.contrast("style-weaker", "note")
    assert beside
    assert beside.theirs["identity"].mean == pytest.approx(0.6)  # not 0.3, the mean of both seeds
    assert beside.theirs["leak"].mean == pytest.approx(0.2)
    assert [arm.changes for arm in found.arms] == ["note", "note", "naive"]
    picture = charts(found)["variants.png"]
    assert picture.width == 1000
    assert {(0x00, 0x72, 0xB2), (0x8A, 0x8F, 0x9B)} <= {colour for _, colour in picture.getcolors(1 << 20)}
    alone = results_of(scope, found.setting, [outcome("naive-high-cfg", 0.5, 0.5)], [])
    assert "variants.png" not in charts(alone)  # naive has not run: nothing to stand beside


def test_pages_are_written_when_no_other_command_writes_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demo.proof.__main__ import main

    done: list[str] = []
    monkeypatch.setattr("demo.proof.output.collect", lambda *_: done.append("collected"))
    monkeypatch.setattr("demo.proof.docs.write_docs", lambda out: done.append("written"))
    other = threading.Thread(target=main, args=(["--write-docs", "--out", str(tmp_path)],))
    with one_writer(tmp_path):
        other.start()
        other.join(0.5)
        assert not done
    other.join(30)
    assert done == ["collected", "written"]


def test_numbers_have_two_digits_and_a_true_minus() -> None:
    assert (two_digits(-0.001), two_digits(-0.126), two_digits(0.5)) == ("0.00", "−0.13", "0.50")
    assert short(Score(mean=0.5, low=0.0, high=1.0, samples=2)) == "0.50 (0.00 to 1.00)"


def test_a_gate_missed_by_a_hair_does_not_look_passed() -> None:
    assert (percent_of(189 / 200), percent_of(0.95), percent_of(1.0)) == ("94.5 %", "95 %", "100 %")
