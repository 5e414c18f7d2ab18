"""Figures by hand: means, rises over the base model, intervals."""

import pytest

from lora_core.dataset import Scores, TagTable
from lora_core.errors import DatasetError
from lora_core.judging.scores import bootstrap, measure, tags_of_prompt
from lora_core.sampling.samples import Sample, Samples
from lora_core.store import digest_of

LABELS = ("blue_hair", "long_hair", "realistic", "nose", "lips", "smile")
TRAITS = ("blue_hair", "long_hair")


def make_sample(epoch: str, seed: int, prompt: str = "hc_mira, smile") -> Sample:
    image = digest_of(f"{epoch}/{seed}/{prompt}".encode())
    return Sample(
        epoch=epoch, prompt_index=0, prompt=prompt, seed=seed, file=f"{epoch}-{seed}", image=image, width=8, height=8
    )


def make(scores: dict[tuple[str, int], dict[str, float]], prompt: str = "hc_mira, smile") -> tuple[Samples, TagTable]:
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
        weight=1.0,
        lora_files=tuple((epoch, f"{epoch}.safetensors") for epoch in epochs),
        samples=tuple(samples.values()),
    )
    return drawn, table


TWO_SEEDS: dict[tuple[str, int], dict[str, float]] = {
    ("none", 1): {"blue_hair": 0.1, "long_hair": 0.3, "nose": 0.2},
    ("none", 2): {"blue_hair": 0.1, "long_hair": 0.5},
    ("1", 1): {"blue_hair": 0.9, "long_hair": 0.7, "nose": 0.5, "realistic": 0.3},
    ("1", 2): {"blue_hair": 0.5, "long_hair": 0.9, "lips": 0.3},
}


def test_identity_is_the_mean_rise_of_the_traits() -> None:
    figures = measure(*make(TWO_SEEDS), traits=TRAITS, labels=LABELS)
    identity = figures.epochs[0].identity
    assert identity is not None
    # seed 1: (0.8 + 0.4) / 2 = 0.6; seed 2: (0.4 + 0.4) / 2 = 0.4
    assert identity.mean == pytest.approx(0.5)
    assert (identity.low, identity.high) == (pytest.approx(0.4), pytest.approx(0.6))
    assert identity.samples == 2


def test_leak_is_the_mean_rise_of_the_3d_look_over_the_tags_that_the_tagger_knows() -> None:
    figures = measure(*make(TWO_SEEDS), traits=TRAITS, labels=LABELS)
    leak = figures.epochs[0].leak
    assert leak is not None
    # realistic, nose, lips; seed 1: (0.3 + 0.3 + 0) / 3 = 0.2; seed 2: 0.3 / 3 = 0.1
    assert leak.mean == pytest.approx(0.15)
    assert figures.look_tags == ("realistic", "nose", "lips")


def test_tags_unknown_to_the_tagger_are_named() -> None:
    figures = measure(*make(TWO_SEEDS), traits=("blue_hair", "halo"), labels=LABELS)
    assert figures.traits == ("blue_hair",)
    assert figures.not_measured == ("halo", "3d")


def test_every_tag_is_told_with_and_without_the_lora() -> None:
    rise = measure(*make(TWO_SEEDS), traits=TRAITS, labels=LABELS).epochs[0].traits[1]
    assert (rise.tag, rise.base, rise.epoch) == ("long_hair", pytest.approx(0.4), pytest.approx(0.8))


def test_a_trait_that_the_prompt_asks_for_does_not_count() -> None:
    figures = measure(*make(TWO_SEEDS, "hc_mira, Long Hair"), traits=TRAITS, labels=LABELS)
    identity = figures.epochs[0].identity
    assert identity is not None
    assert identity.mean == pytest.approx((0.8 + 0.4) / 2)


def test_without_traits_identity_is_not_measured() -> None:
    figures = measure(*make(TWO_SEEDS), traits=(), labels=LABELS)
    assert figures.epochs[0].identity is None


def test_the_interval_is_the_same_every_time_and_narrows_with_more_samples() -> None:
    few, many = [0.0, 1.0] * 3, [0.0, 1.0] * 50
    assert bootstrap(few) == bootstrap(few)
    wide, narrow = bootstrap(few), bootstrap(many)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    # Normal theory for 100 values of standard deviation 0.5: 0.5 ± 1.96 · 0.05
    assert (narrow.low, narrow.high) == (pytest.approx(0.402, abs=0.02), pytest.approx(0.598, abs=0.02))


def test_equal_values_have_an_interval_of_no_width() -> None:
    figure = bootstrap([0.3] * 4)
    assert (figure.low, figure.high) == (pytest.approx(0.3), pytest.approx(0.3))


def test_an_untagged_sample_is_named() -> None:
    samples, table = make(TWO_SEEDS)
    less = table.model_copy(update={"images": dict(list(table.images.items())[:-1])})
    with pytest.raises(DatasetError, match="1-2"):
        measure(samples, less, traits=TRAITS, labels=LABELS)


def test_an_epoch_without_its_base_picture_is_named() -> None:
    samples, table = make({key: value for key, value in TWO_SEEDS.items() if key != ("none", 2)})
    with pytest.raises(DatasetError, match="without the LoRA"):
        measure(samples, table, traits=TRAITS, labels=LABELS)


def test_prompts_are_read_as_tags() -> None:
    assert tags_of_prompt("hc_mira, Upper Body, , smile") == ("hc_mira", "upper_body", "smile")
