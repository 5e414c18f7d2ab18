"""Metrics by hand: means, deltas over the base model, intervals."""

from statistics import fmean

import pytest

from lora_core.dataset import Scores, TagTable
from lora_core.errors import DatasetError
from lora_core.judging.evidence import Evidence, drawn_anyway
from lora_core.judging.measure import EpochMetrics, Measurements, measure
from lora_core.judging.similarity import Nearest, Similarity
from lora_core.sampling.samples import Sample, Samples
from lora_core.store.digests import digest_of

LABELS = (
    "blue_hair", "long_hair", "realistic", "nose", "lips", "smile", "grass", "white_background", "simple_background",
    "upper_body", "standing",
)  # fmt: skip
TRAITS = ("blue_hair", "long_hair")
NO_SIMILARITY = Similarity(nearest={}, hashes={})
RunContext = tuple[str, int]


def make_sample(epoch: str, seed: int, prompt: str, weight: float = 1.0) -> Sample:
    return Sample(
        epoch=epoch, weight=0 if epoch == "none" else weight, prompt_index=0, prompt=prompt, seed=seed,
        file=f"{epoch}-{seed}", image=digest_of(f"{epoch}/{weight}/{seed}/{prompt}".encode()), width=8, height=8,
    )  # fmt: skip


def make(scores: dict[RunContext, dict[str, float]], prompt: str = "hc_mira, smile") -> tuple[Samples, TagTable]:
    samples = {key: make_sample(*key, prompt) for key in scores}
    epochs = dict.fromkeys(epoch for epoch, _ in scores if epoch != "none")
    table = TagTable(
        model="0" * 64,
        floor=0.05,
        images={
            samples[key].image: Scores(rating={}, general=general, character={}) for key, general in scores.items()
        },
    )
    drawn = Samples(
        negative="",
        lora_files=tuple((epoch, f"{epoch}.safetensors") for epoch in epochs),
        samples=tuple(samples.values()),
    )
    return drawn, table


def read(
    scores: dict[RunContext, dict[str, float]],
    prompt: str = "hc_mira, smile",
    traits: tuple[str, ...] = TRAITS,
    bias: tuple[str, ...] = (),
) -> Measurements:
    drawn, table = make(scores, prompt)
    return measure(drawn, Evidence(table, LABELS, NO_SIMILARITY, traits, bias))


def only(measured: Measurements) -> EpochMetrics:
    (epoch,) = measured.epochs
    return epoch


TWO_SEEDS: dict[RunContext, dict[str, float]] = {
    ("none", 1): {"blue_hair": 0.1, "long_hair": 0.3, "nose": 0.2},
    ("none", 2): {"blue_hair": 0.1, "long_hair": 0.5},
    ("1", 1): {"blue_hair": 0.9, "long_hair": 0.7, "nose": 0.5, "realistic": 0.3},
    ("1", 2): {"blue_hair": 0.5, "long_hair": 0.9, "lips": 0.3},
}


def test_identity_is_the_mean_delta_of_the_traits() -> None:
    identity = only(read(TWO_SEEDS)).scores["identity"]
    # seed 1: (0.8 + 0.4) / 2 = 0.6; seed 2: (0.4 + 0.4) / 2 = 0.4
    assert identity.mean == pytest.approx(0.5)
    assert (identity.low, identity.high) == (pytest.approx(0.4), pytest.approx(0.6))
    assert identity.samples == 2


def test_five_tags_of_a_haircut_are_one_trait() -> None:
    scores: dict[RunContext, dict[str, float]] = {
        ("none", 1): {},
        ("1", 1): {"blue_hair": 0.9, "long_hair": 0.5, "twintails": 0.3, "ahoge": 0.1},
    }
    drawn, table = make(scores)
    evidence = Evidence(table, (*LABELS, "twintails", "ahoge"), NO_SIMILARITY, (*TRAITS, "twintails", "ahoge"))
    # colour .9; cut (.5 + .3 + .1) / 3 = .3
    assert only(measure(drawn, evidence)).scores["identity"].mean == pytest.approx((0.9 + 0.3) / 2)


def test_a_trait_that_the_base_draws_anyway_counts_nothing() -> None:
    drawn, table = make(TWO_SEEDS)
    anyway = drawn_anyway(drawn.of("none"), table, TRAITS)
    assert anyway == ()
    table.images[drawn.samples[0].image].general["long_hair"] = 0.5  # type: ignore[index]
    anyway = drawn_anyway(drawn.of("none"), table, TRAITS)
    assert anyway == ("long_hair",)
    measured = measure(drawn, Evidence(table, LABELS, NO_SIMILARITY, TRAITS, drawn_anyway=anyway))
    assert only(measured).scores["identity"].mean == pytest.approx((0.8 + 0.4) / 2)
    assert (measured.measured_by["identity"], measured.drawn_anyway) == (("blue_hair",), ("long_hair",))


def test_tags_unknown_to_the_tagger_are_named() -> None:
    measured = read(TWO_SEEDS, traits=("blue_hair", "halo"))
    assert measured.measured_by["identity"] == ("blue_hair",)
    assert measured.not_measured == ("halo", "3d")


def test_every_tag_is_kept_with_and_without_the_lora() -> None:
    delta = only(read(TWO_SEEDS)).tags[1]
    assert (delta.tag, delta.base, delta.epoch) == ("long_hair", pytest.approx(0.4), pytest.approx(0.8))


def test_a_trait_that_the_prompt_asks_for_does_not_count() -> None:
    identity = only(read(TWO_SEEDS, "hc_mira, Long Hair")).scores["identity"]
    assert identity.mean == pytest.approx((0.8 + 0.4) / 2)


def test_without_traits_identity_is_not_measured() -> None:
    assert "identity" not in only(read(TWO_SEEDS, traits=())).scores


PLAIN: dict[RunContext, dict[str, float]] = {
    ("none", 1): {"grass": 0.8, "white_background": 0.1},
    ("1", 1): {"grass": 0.2, "white_background": 0.9, "simple_background": 0.5, "upper_body": 0.7, "standing": 0.4},
}


def test_a_plain_background_leaks_only_where_another_was_asked_for() -> None:
    assert only(read(PLAIN, "hc_mira, grass")).scores["background"].mean == pytest.approx(((0.9 - 0.1) + 0.5) / 2)
    assert "background" not in only(read(PLAIN, "hc_mira, smile")).scores
    assert "background" not in only(read(PLAIN, "hc_mira, grass, white background")).scores


def test_framing_and_pose_of_the_screenshots_leak_where_the_prompt_does_not_ask_for_them() -> None:
    bias = ("upper_body", "standing")
    portrait = only(read(PLAIN, "hc_mira, portrait", bias=bias)).scores["dataset_bias"]
    upper_body = only(read(PLAIN, "hc_mira, upper body", bias=bias)).scores["dataset_bias"]
    assert portrait.mean == pytest.approx((0.7 + 0.4) / 2)
    assert upper_body.mean == pytest.approx(0.4)


def test_prompt_adherence_is_what_the_prompt_asks_for_beside_what_the_lora_brings() -> None:
    measured = read(PLAIN, "hc_mira, 1girl, blue hair, nose, grass, upper body, no such tag")
    adherence, base = (scores["prompt_adherence"] for scores in (only(measured).scores, measured.base))
    assert (adherence.mean, base.mean) == (pytest.approx(fmean([0.2, 0.7])), pytest.approx(0.4))


def test_copying_is_the_share_of_samples_near_a_screenshot_and_the_nearest_is_named() -> None:
    drawn, table = make(TWO_SEEDS)
    bits = {sample.image: Nearest(picture=sample.file, bits=20 * n) for n, sample in enumerate(drawn.samples, start=1)}
    evidence = Evidence(table, LABELS, Similarity(bits, {}), TRAITS, copy_bits=60)
    epoch = only(measure(drawn, evidence))
    # 60 and 80 bits
    assert epoch.scores["copying"].mean == pytest.approx(0.5)
    assert epoch.nearest == Nearest(picture="1-1", bits=60)
    assert "copying" not in only(read(TWO_SEEDS)).scores


def test_diversity_is_the_distance_between_seeds_of_a_prompt() -> None:
    drawn, table = make(TWO_SEEDS)
    hashes = {
        sample.image: f"{number:064x}" for sample, number in zip(drawn.samples, (0, 0, 0, 2**64 - 1), strict=True)
    }
    measured = measure(drawn, Evidence(table, LABELS, Similarity({}, hashes), TRAITS))
    diversity, base = (scores["diversity"] for scores in (only(measured).scores, measured.base))
    # 64 of 128 bits; the base drew the same twice
    assert (diversity.mean, base.mean) == (pytest.approx(0.5), 0.0)
    one_seed = {key: scores for key, scores in TWO_SEEDS.items() if key[1] == 1}
    assert "diversity" not in only(read(one_seed)).scores


def test_the_auxiliary_classifiers_leak_is_a_delta_too() -> None:
    drawn, table = make(TWO_SEEDS)
    seen = {sample.image: value for sample, value in zip(drawn.samples, (0.1, 0.2, 0.6, 0.5), strict=True)}
    epoch = only(measure(drawn, Evidence(table, LABELS, NO_SIMILARITY, TRAITS, classifier=seen)))
    assert epoch.scores["classifier_leak"].mean == pytest.approx((0.5 + 0.3) / 2)


def test_every_weight_of_an_epoch_stands_alone() -> None:
    pictures = [make_sample("none", 1, "x"), make_sample("1", 1, "x", 0.5), make_sample("1", 1, "x", 1.0)]
    scores = [{}, {"blue_hair": 0.2}, {"blue_hair": 0.8}]
    table = TagTable(
        model="0" * 64,
        floor=0.05,
        images={
            one.image: Scores(rating={}, general=seen, character={}) for one, seen in zip(pictures, scores, strict=True)
        },
    )
    drawn = Samples(negative="", lora_files=(("1", "a"),), samples=tuple(pictures))
    epochs = measure(drawn, Evidence(table, LABELS, NO_SIMILARITY, ("blue_hair",))).epochs
    means = [(one.epoch, one.weight, one.scores["identity"].mean) for one in epochs]
    assert means == [("1", 0.5, pytest.approx(0.2)), ("1", 1.0, pytest.approx(0.8))]


def test_an_untagged_sample_is_named() -> None:
    samples, table = make(TWO_SEEDS)
    less = table.model_copy(update={"images": dict(list(table.images.items())[:-1])})
    with pytest.raises(DatasetError, match="1-2"):
        measure(samples, Evidence(less, LABELS, NO_SIMILARITY, TRAITS))


def test_an_epoch_without_its_base_picture_is_named() -> None:
    with pytest.raises(DatasetError, match="without the LoRA"):
        read({key: value for key, value in TWO_SEEDS.items() if key != ("none", 2)})


def test_the_base_alone_has_no_deltas_and_pictures_keep_their_own_values() -> None:
    measured = read(TWO_SEEDS)
    assert set(measured.base) == {"prompt_adherence"}
    pictures = only(measured).pictures
    assert [picture.values["identity"] for picture in pictures] == [pytest.approx(0.6), pytest.approx(0.4)]
