"""From readings to results, on a proof of a few made-up pictures."""

from pathlib import Path

import pytest
from PIL import Image

from demo.proof.arms import Screenshots, common, read_arm, recipe_of
from demo.proof.docs import DOCS, read_results, render, write_docs
from demo.proof.evaluate import arm_figures, base_levels, claim, contrast, gate_rows, method
from demo.proof.gates import Gate
from demo.proof.measures import Reading
from demo.proof.output import results_of, setting_of
from demo.proof.pairs import PAIRS
from demo.proof.pictures import charts
from demo.proof.results import Contrast, Results
from demo.proof.run import Failure, Gates, Outcome
from demo.proof.scope import ArmRun, quick
from demo.proof.tables import better, contrast_table, percent_of, short, whole
from lora_core.errors import RecipeError
from lora_core.judging.bootstrap import Score, bootstrap
from lora_core.judging.metrics import two_digits
from lora_core.refs import CheckpointRef
from lora_core.sampling.samples import NO_LORA, Sample, Samples

PROMPTS = ("momo, upper body, smile", "momo, portrait, night")
SHOTS = Screenshots(Path("/shots/style"), Path("/shots/character"))


def reading(identity: float, leak: float) -> Reading:
    """A picture in which every trait of momo's has one probability and every tag of the look another."""
    traits = dict.fromkeys(("pink_hair", "twintails", "green_eyes", "cat_ears"), identity)
    return Reading(tags=traits | dict.fromkeys(("realistic", "3d", "nose", "lips"), leak), solid=leak)


def arm_run(name: str, seed: int = 1) -> ArmRun:
    arm = read_arm(name)
    return ArmRun(arm, PAIRS[0], seed, recipe_of(arm, common(quick=True), PAIRS[0], seed, SHOTS))


def outcome(name: str, identity: float, leak: float, seed: int = 1, *, gates: bool | None = None) -> Outcome:
    """Two prompts × two seeds without the LoRA (nothing to see) and at two epochs, the first with half of it all."""
    readings: dict[str, Reading] = {}
    samples = []
    for number_, epoch in enumerate((NO_LORA, "1", "2")):
        for index, prompt in enumerate(PROMPTS):
            for noise in (1, 2):
                image = f"{len(readings):064x}"
                share = number_ / 2
                readings[image] = reading(identity * share, leak * share)
                samples.append(
                    Sample(
                        epoch=epoch, prompt_index=index, prompt=prompt, seed=noise, file=f"{epoch}/{index}-{noise}.png",
                        image=image, width=8, height=8,
                    )
                )  # fmt: skip
    drawn = Samples(negative="", lora_files=(("1", "a"), ("2", "b")), samples=tuple(samples))
    return Outcome(arm_run(name, seed), drawn, readings, "0" * 64, None if gates is None else made_gates(gates))


def made_gates(passed: bool) -> Gates:
    one = Gate(share=bootstrap([1.0, float(passed)]), character=1.0, white=float(passed), solid=1.0)
    return Gates(merged_model=CheckpointRef(sha256="a" * 64), style=one, merged=one)


NAIVE = [outcome("naive", 0.6, 0.8, seed) for seed in (1, 2)]
NOTE = [outcome("note", 0.6, 0.2, seed, gates=seed == 1) for seed in (1, 2)]


def results() -> Results:
    scope = quick([read_arm("naive"), read_arm("note"), read_arm("rank-4")])
    failed = [Failure(arm_run("rank-4"), "the loss is not finite")]
    return results_of(scope, setting_of(scope, NAIVE[0].run.recipe), [*NAIVE, *NOTE], failed)


def test_an_arm_has_the_figures_of_each_epoch_over_its_runs() -> None:
    found = arm_figures(read_arm("naive"), NAIVE)
    assert [epoch.epoch for epoch in found.epochs] == ["1", "2"]
    assert found.epochs[0].figures["identity"].mean == pytest.approx(0.3)
    assert found.last.figures["identity"].mean == pytest.approx(0.6)
    assert found.last.figures["identity: ears"].mean == pytest.approx(0.6)
    assert found.last.figures["leak"].mean == found.last.figures["leak (probe)"].mean == pytest.approx(0.8)
    assert found.last.figures["leak"].samples == 8
    assert found.runs == ("momo-yuki, seed 1", "momo-yuki, seed 2")


def test_an_arm_is_the_method_only_when_every_gate_was_passed() -> None:
    found = arm_figures(read_arm("note"), NOTE)
    assert (found.merges, found.gates_passed, found.misses_gates) == (True, 1, True)
    assert not arm_figures(read_arm("note"), NOTE[:1]).misses_gates
    naive = arm_figures(read_arm("naive"), NAIVE)
    assert (naive.merges, naive.misses_gates) == (False, False)


def test_runs_that_passed_the_gates_are_told_apart_from_all_runs() -> None:
    worse = outcome("note", 0.2, 0.6, seed=2, gates=False)
    found = arm_figures(read_arm("note"), [NOTE[0], worse])
    assert found.last.figures["identity"].mean == pytest.approx(0.4)
    assert found.passed is not None
    assert found.passed["identity"].mean == pytest.approx(0.6)
    assert arm_figures(read_arm("note"), NOTE[:1]).passed is None
    assert arm_figures(read_arm("note"), [worse]).passed is None
    assert arm_figures(read_arm("naive"), NAIVE).passed is None
    tested = method([*NAIVE, NOTE[0], worse])
    assert tested is not None
    assert (tested.runs, tested.differences["leak"].mean) == (1, pytest.approx(-0.6))
    assert method([*NAIVE, worse]) is None


def test_the_bases_own_level_counts_a_pairs_pictures_once() -> None:
    assert base_levels([*NAIVE, *NOTE])["identity"].samples == 4


def test_arms_that_share_a_merged_model_share_a_row() -> None:
    rows = gate_rows([*NOTE, outcome("merge-only", 0.5, 0.1, gates=True)])
    assert [(row.arms, row.seed, row.passed) for row in rows] == [
        (("note", "merge-only"), 1, True),
        (("note",), 2, False),
    ]


def test_arms_are_compared_picture_by_picture_where_both_have_them() -> None:
    found = contrast("note", "naive", [NAIVE[0], *NOTE])
    assert found is not None
    assert found.runs == 1
    assert found.differences["leak"].mean == pytest.approx(-0.6)
    assert found.differences["identity"].mean == pytest.approx(0.0)
    assert found.leak_ratio is not None
    assert found.leak_ratio.mean == pytest.approx(0.25)
    assert contrast("note", "rank-4", [*NAIVE, *NOTE]) is None


def compared(leak: tuple[float, float], identity: tuple[float, float]) -> Contrast:
    ratio, difference = (Score(mean=(low + high) / 2, low=low, high=high, samples=9) for low, high in (leak, identity))
    differences = {"identity": difference}
    return Contrast(
        arm="note",
        against="naive",
        runs=1,
        differences=differences,
        theirs={},
        leak_ratio=ratio,
        probe_ratio=ratio,
    )


@pytest.mark.parametrize(
    ("leak", "identity", "verdict"),
    [
        ((0.1, 0.5), (-0.05, 0.1), "holds"),
        ((0.1, 0.51), (-0.05, 0.1), "undecided"),
        ((0.1, 0.5), (-0.06, 0.1), "undecided"),
        ((0.51, 0.7), (0.0, 0.1), "refuted"),
        ((0.1, 0.2), (-0.2, -0.06), "refuted"),
    ],
)
def test_the_claim_is_decided_by_whole_intervals(
    leak: tuple[float, float], identity: tuple[float, float], verdict: str
) -> None:
    assert claim(compared(leak, identity)) == verdict


def test_without_a_run_that_passed_the_gates_the_claim_is_untested() -> None:
    assert claim(None) == "untested"


def test_results_survive_their_file(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(results().model_dump_json())
    assert read_results(tmp_path / "results.json") == results()
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(RecipeError, match="not results of this version"):
        read_results(tmp_path / "results.json")


def test_tables_show_every_arm_gate_and_failure() -> None:
    text = whole(results())
    assert "| naive | a plain LoRA: pruned captions, straight on the base | 0.60 (0.60 to 0.60) | 0.80" in text
    assert "| note | the note's method, whole* | 0.60" in text
    assert "| 1 of 2 passed |" in text
    assert "| note | the same, only its run that passed the gates | 0.60" in text
    assert "| momo-yuki | 2 | note |" in text
    assert "- rank-4 on momo-yuki, seed 1: the loss is not finite" in text


def test_a_difference_is_bold_where_its_whole_interval_as_shown_is_on_one_side_of_zero() -> None:
    for low, high, cell in (
        (0.01, 0.11, "**0.06 (0.01 to 0.11)**"),
        (-0.11, -0.01, "**−0.06 (−0.11 to −0.01)**"),
        (-0.1, 0.0, "−0.05 (−0.10 to 0.00)"),
        (0.002, 0.118, "0.06 (0.00 to 0.12)"),
    ):
        assert f"| note | 1 | {cell} |" in contrast_table([compared((0.1, 0.2), (low, high))], "naive")


def test_the_page_takes_its_numbers_and_its_verdict_from_the_results(tmp_path: Path) -> None:
    found = results()
    for name in ("overview.jpg", "sheet-momo-yuki.jpg", "variants-momo-yuki.jpg", "sheet-of-another.jpg"):
        (tmp_path / name).touch()
    page = render(found, tmp_path)
    assert found.claim == "holds"
    assert "**The claim holds in this world**" in page
    assert "0.25 (0.25 to 0.25) times as much of the 3D look as the plain LoRA" in page
    assert "in the 1 of 2 runs that passed the [gates]" in page
    assert "(proof/variants-momo-yuki.jpg)" in page
    assert "(proof/overview.jpg)" in page
    assert "sheet-of-another.jpg" not in page
    assert "so far 4 of 40 runs (4 core arms on 5 pairs with 2 training seeds each)" in page
    assert "variants.png" not in page
    assert found.setting.command in page
    for verdict, words in (
        ("untested", "**The claim is not tested yet.**"),
        ("refuted", "**The claim does not hold in this world**"),
        ("undecided", "**These runs do not decide the claim**"),
    ):
        assert words in render(found.model_copy(update={"claim": verdict}), tmp_path)


def test_the_page_is_written_beside_its_pictures_and_figures(tmp_path: Path) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs"
    out.mkdir()
    (out / "results.json").write_text(results().model_dump_json())
    Image.new("RGBA", (8, 8)).save(out / "sheet-momo-yuki.png")
    charts(results())["identity-against-leak.png"].save(out / "identity-against-leak.png")
    page = write_docs(out, docs).read_text()
    assert "(proof/sheet-momo-yuki.jpg)" in page
    assert "(proof/identity-against-leak.png)" in page
    assert sorted(file.name for file in (docs / "proof").iterdir()) == [
        "identity-against-leak.png",
        "results.json",
        "sheet-momo-yuki.jpg",
    ]


def test_the_page_in_docs_is_the_programs_own_to_the_letter() -> None:
    assert (DOCS / "proof.md").read_text() == render(read_results(DOCS / "proof" / "results.json"), DOCS / "proof")


def test_the_command_runs_the_same_arms_again() -> None:
    expected = "python -m demo.proof --quick --arms naive note rank-4 --pairs momo-yuki --seeds 1"
    assert results().setting.command == expected


def test_the_chart_is_1000_pixels_wide_and_shows_every_arm_in_its_colour() -> None:
    picture = charts(results())["identity-against-leak.png"]
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


def test_what_beats_an_arm_does_so_by_the_whole_interval() -> None:
    def against_note(arm: str, identity: tuple[float, float], leak: tuple[float, float]) -> Contrast:
        between = {"identity": Score(mean=0.0, low=identity[0], high=identity[1], samples=2),
                   "leak": Score(mean=0.0, low=leak[0], high=leak[1], samples=2)}  # fmt: skip
        return Contrast(
            arm=arm, against="note", runs=2, differences=between, theirs={}, leak_ratio=None, probe_ratio=None
        )

    found = [
        against_note("better in both", (0.01, 0.2), (-0.2, -0.01)),
        against_note("more of the character", (0.01, 0.2), (-0.1, 0.1)),
        against_note("less of the look", (-0.2, 0.0), (-0.2, -0.01)),
        against_note("more of both", (0.01, 0.2), (0.01, 0.2)),
        against_note("less of both", (-0.2, -0.01), (-0.2, -0.01)),
        against_note("no difference", (-0.1, 0.1), (-0.1, 0.1)),
    ]
    both, one = better(found, "note")
    assert [each.arm for each in both] == ["better in both"]
    assert [each.arm for each in one] == ["more of the character", "less of the look"]
    assert better(found, "naive") == ([], [])


def test_numbers_have_two_digits_and_a_true_minus() -> None:
    assert (two_digits(-0.001), two_digits(-0.126), two_digits(0.5)) == ("0.00", "−0.13", "0.50")
    assert short(bootstrap([0.0, 1.0]), percent=True) == "50 % (0 to 100)"


def test_a_gate_missed_by_a_hair_does_not_look_passed() -> None:
    assert (percent_of(189 / 200), percent_of(0.95), percent_of(1.0)) == ("94.5 %", "95 %", "100 %")
