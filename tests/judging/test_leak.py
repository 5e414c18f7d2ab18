"""The 3D look on the scale of the screenshots themselves, by whatever sees it there."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
from scored import epoch, measurements, score

from lora_core.judging.bootstrap import nested
from lora_core.judging.choice import choose_epoch
from lora_core.judging.evidence import tags_of_prompt
from lora_core.judging.leak import Look, find_look
from lora_core.recipe import Judging, Sampling
from lora_core.sampling.samples import Sample
from lora_core.store.digests import digest_of

Table = dict[str, dict[str, float]]
"""Image → tag → probability."""


def sample(epoch: str, prompt_index: int, seed: int, prompt: str = "momo, smile") -> Sample:
    image = digest_of(f"{epoch}/{prompt_index}/{seed}".encode())
    return Sample(
        epoch=epoch, weight=1, prompt_index=prompt_index, prompt=prompt, seed=seed, file="x", image=image, width=8,
        height=8,
    )  # fmt: skip


def read(table: Table, tag: str, one: Sample) -> float:
    return table[one.image].get(tag, 0.0)


def look_of(
    base: list[Sample], table: Table, screenshots: Mapping[str, float],
    classifier: float | None = None, embedder: float | None = None,
) -> Look:  # fmt: skip
    tags = {tag: (partial(read, table, tag), mean) for tag, mean in screenshots.items()}
    by_class, by_embedder = (
        None if mean is None else (name, partial(read, table, name), mean)
        for name, mean in (("classes", classifier), ("embedder", embedder))
    )
    return find_look(base, tags, by_class, by_embedder, lambda one: tags_of_prompt(one.prompt))


def test_leak_is_the_share_of_the_way_from_the_bases_own_picture_to_the_screenshots() -> None:
    base, drawn = [sample("none", 0, n) for n in (1, 2)], [sample("1", 0, n) for n in (1, 2)]
    table = dict(
        zip([one.image for one in (*base, *drawn)], [{}, {"nose": 0.1}, {"nose": 0.15}, {"nose": 0.2}], strict=True)
    )
    look = look_of(base, table, {"nose": 0.35})
    assert [(one.name, one.base, one.screenshots) for one in look.tried] == [("nose", 0.05, 0.35)]
    # (.15 − 0) / .3, (.2 − .1) / .3
    assert look.leak(list(zip(drawn, base, strict=True))) == [pytest.approx(0.5), pytest.approx(1 / 3)]


def test_one_word_that_came_along_is_not_watered_down_by_those_that_did_not() -> None:
    base, drawn = [sample("none", n, 1) for n in range(4)], [sample("1", n, 1) for n in range(4)]
    table: Table = {one.image: {} for one in base} | {one.image: {"nose": 0.3} for one in drawn}
    screenshots = {"nose": 0.3, "lips": 0.3, "realistic": 0.9, "3d": 0.14}
    look = look_of(base, table, screenshots)
    assert [one.word.name for one in look.instruments] == ["nose", "lips", "realistic"]
    assert look.leak(list(zip(drawn, base, strict=True))) == [pytest.approx(1.0)] * 4


def test_a_word_that_the_prompt_asks_for_says_nothing_on_it() -> None:
    base = [sample("none", 0, 1, "momo, realistic"), sample("none", 1, 1)]
    drawn = [sample("1", 0, 1, "momo, realistic"), sample("1", 1, 1)]
    table: Table = {base[0].image: {"realistic": 0.9}, base[1].image: {}} | {
        one.image: {"realistic": 0.9} for one in drawn
    }
    look = look_of(base, table, {"realistic": 0.9})
    assert look.instruments[0].word.base == 0
    assert look.leak(list(zip(drawn, base, strict=True))) == [None, pytest.approx(1.0)]


def test_where_no_tag_sees_the_look_the_classifier_takes_over_and_then_the_embedder() -> None:
    base, drawn = [sample("none", n, 1) for n in range(2)], [sample("1", n, 1) for n in range(2)]
    table: Table = {one.image: {"classes": 0.1, "embedder": 0.5} for one in base}
    table |= {one.image: {"classes": 0.9, "embedder": 0.7} for one in drawn}
    pairs, blind = list(zip(drawn, base, strict=True)), {"realistic": 0.05}
    by_class = look_of(base, table, blind, 0.9, 0.9)
    assert [one.word.name for one in by_class.instruments] == ["classes"]
    assert by_class.leak(pairs) == [pytest.approx(1.0)] * 2
    by_embedder = look_of(base, table, blind, 0.2, 0.9)
    assert [one.word.name for one in by_embedder.instruments] == ["embedder"]
    assert by_embedder.leak(pairs) == [pytest.approx(0.5)] * 2
    nothing = look_of(base, table, blind)
    assert (nothing.instruments, nothing.leak(pairs)) == ((), [None, None])
    assert [one.name for one in nothing.tried] == ["realistic"]


# What a WD tagger gives of the look: (in the base's own pictures, in the screenshots). None of them knows `3d`.
TAGGERS = {
    "realistic, nose and lips, weakly": {"realistic": (0.03, 0.35), "nose": (0.06, 0.28), "lips": (0.05, 0.22)},
    "realistic alone": {"realistic": (0.03, 0.3), "nose": (0.04, 0.06), "lips": (0.04, 0.06)},
    "nose alone, hardly": {"realistic": (0.02, 0.05), "nose": (0.05, 0.2)},
    "one that sees it well": {"realistic": (0.02, 0.8), "nose": (0.05, 0.5), "lips": (0.03, 0.4)},
    "one that sees nothing": {"realistic": (0.02, 0.04), "nose": (0.05, 0.08), "lips": (0.04, 0.06)},
}
_FLOOR, _SHARED = 0.05, 0.7
"""Below, a tagger's score is not kept; and how much of a picture's own scatter its prompt and seed give, with the LoRA
and without (they share the noise that they are drawn from)."""


def simulated(
    rng: np.random.Generator,
    words: Mapping[str, tuple[float, float]],
    leak: float,
    *,
    only: str = "",
    defaults: Sampling | None = None,
    classifier: tuple[float, float] | None = None,
) -> bool | None:
    """Whether an epoch with this much of the look is within bounds on the default prompts; None: not measurable.

    `only`: the one word that leaks, the others are as clean as they can be. `classifier`: what it gives, as for words.
    """
    defaults = defaults or Sampling()
    places = [(p, s) for p in range(len(defaults.prompts)) for s in defaults.seeds]
    base, drawn = ([sample(name, *place) for place in places] for name in ("none", "1"))
    table: Table = {one.image: {} for one in (*base, *drawn)}
    screenshots = {}
    for tag, (in_base, in_screenshots) in {**words, **({"classes": classifier} if classifier else {})}.items():
        shared = rng.normal(0, 0.5, len(defaults.prompts))[[p for p, _ in places]] + rng.normal(0, 0.8, len(places))
        came = leak if only in ("", tag) else 0.0
        for every, mean in ((base, in_base), (drawn, (1 - came) * in_base + came * in_screenshots)):
            own = rng.normal(0, 0.9, len(places))
            scatter = np.sqrt(_SHARED) * shared + np.sqrt(1 - _SHARED) * own
            for one, value in zip(every, _seen(mean, scatter), strict=True):
                table[one.image][tag] = float(value)
        screenshots[tag] = float(_seen(in_screenshots, rng.normal(0, 0.9, 38)).mean())
    look = look_of(base, table, screenshots, screenshots.pop("classes", None))
    values = [
        (share, (one.prompt_index,))
        for one, share in zip(drawn, look.leak(list(zip(drawn, base, strict=True))), strict=True)
    ]
    if any(share is None for share, _ in values):
        found = None
    else:
        found = nested([share for share, _ in values if share is not None], [place for _, place in values])
    choice = choose_epoch(measurements([epoch(1, identity=score(0.5), leak=found)]), Judging())
    return None if found is None else choice.passed


def _seen(mean: float, scatter: np.ndarray) -> np.ndarray:
    """Probabilities around a mean as a sigmoid gives them, those below the floor as 0."""
    values = 1 / (1 + np.exp(-(np.log(mean / (1 - mean)) + scatter)))
    return np.where(values < _FLOOR, 0.0, values)


@pytest.mark.parametrize("name", TAGGERS)
def test_a_copied_look_never_passes_whatever_the_tagger_sees_of_it(name: str) -> None:
    rng = np.random.default_rng(1)
    assert not [leak for leak in (0.7, 1.0) for _ in range(60) if simulated(rng, TAGGERS[name], leak)]


@pytest.mark.parametrize("only", ["realistic", "nose", "lips"])
def test_one_word_that_was_copied_is_seen_among_those_that_were_not(only: str) -> None:
    rng = np.random.default_rng(4)
    tagger = TAGGERS["one that sees it well"]
    assert not [leak for leak in (0.7, 1.0) for _ in range(40) if simulated(rng, tagger, leak, only=only)]


SEEING = ("realistic, nose and lips, weakly", "realistic alone", "one that sees it well")


@pytest.mark.parametrize("name", SEEING)
def test_a_clean_lora_passes_where_the_tagger_sees_the_look(name: str) -> None:
    """More than 9 of 10, so that of 100 draws fewer than 85 would be no chance."""
    rng = np.random.default_rng(2)
    passed = [simulated(rng, TAGGERS[name], 0.0) for _ in range(100)]
    assert passed.count(True) >= 0.92 * len(passed), passed.count(True)


def test_a_tagger_that_hardly_sees_the_look_needs_more_pictures_to_pass_a_clean_lora() -> None:
    """Its way of .15 is no longer than what two pictures of one prompt differ by: 12 of them leave .1 to chance."""
    words = TAGGERS["nose alone, hardly"]
    shares = []
    for seeds in ((1, 2), tuple(range(1, 9))):
        rng, drawing = np.random.default_rng(2), Sampling(seeds=seeds)
        found = [simulated(rng, words, 0.0, defaults=drawing) for _ in range(60)]
        measured = [passed for passed in found if passed is not None]
        shares.append(measured.count(True) / len(measured))
    assert shares[1] > max(0.85, shares[0])


def test_a_leak_that_chance_alone_can_make_is_told_from_one_that_is_sure() -> None:
    """The tags that hardly see a look refuse a clean LoRA by an interval that holds the bound: a person may say so."""
    for leak, unsure in ((score(0.15, 0.3), True), (score(0.6, 0.2), False), (score(0.2, 0.04), False)):
        choice = choose_epoch(measurements([epoch(1, identity=score(0.5), leak=leak, copying=score(1))]), Judging())
        assert not choice.passed
        assert ("it may be clean, and [judging] epoch and weight say so by hand" in choice.reason) == unsure


def test_where_the_tagger_hardly_sees_the_look_a_classifier_that_does_passes_clean_loras_and_no_copy() -> None:
    """By the tags alone .54 of the clean ones pass, and of what is measured a third is called a leak."""
    words, sees = TAGGERS["nose alone, hardly"], (0.05, 0.8)
    rng = np.random.default_rng(6)
    clean = [simulated(rng, words, 0.0, classifier=sees) for _ in range(100)]
    assert clean.count(True) >= 0.92 * len(clean), clean.count(True)
    assert not [leak for leak in (0.7, 1.0) for _ in range(60) if simulated(rng, words, leak, classifier=sees)]


def test_a_classifier_takes_over_only_where_it_sees_the_look_better_than_tags_that_hardly_do() -> None:
    base = [sample("none", n // 2, n % 2) for n in range(4)]
    scattered = {"nose": (0.0, 0.1, 0.0, 0.1), "realistic": (0.02, 0.03, 0.02, 0.03)}
    for classes, nose, realistic, chosen in (
        ((0.1, 0.1, 0.2, 0.2), 0.2, 0.0, ["classes"]),
        ((0.0, 0.6, 0.0, 0.6), 0.2, 0.0, ["nose"]),  # scattered still more
        ((0.1, 0.1, 0.2, 0.2), 0.5, 0.0, ["nose"]),  # which sees it well
        ((0.1, 0.1, 0.2, 0.2), 0.2, 0.6, ["nose", "realistic"]),  # together they do
    ):
        readings = {**scattered, "classes": classes}
        table: Table = {one.image: {name: values[n] for name, values in readings.items()} for n, one in enumerate(base)}
        look = look_of(base, table, {"nose": nose, "realistic": realistic}, 0.9, 0.99)
        assert [one.word.name for one in look.instruments] == chosen


def test_a_tagger_that_sees_nothing_lets_nothing_pass() -> None:
    rng = np.random.default_rng(3)
    assert not [
        None for leak in (0.0, 1.0) for _ in range(60) if simulated(rng, TAGGERS["one that sees nothing"], leak)
    ]
