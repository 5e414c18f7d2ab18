"""Redrawn pictures: drawn once each, kept one by one, and not drawn again."""

from io import BytesIO

import pytest
from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.errors import LoraError
from lora_core.recipe import Process, Redraw, Sampling, ShotPlan
from lora_core.redraw.draw import begins_of, draw_scenes, read_redrawn
from lora_core.redraw.scenes import Figure, Scene, Seen, scenes
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.sampling import sampler
from lora_core.sampling.sampler import SamplerConfig
from lora_core.sampling.samples import Column
from lora_core.store import Store

_OPTIONS = Sampling(steps=2, batch=2, negative="bad", cfg=3.0, hires=1.5, transfer=("elsewhere",)).square(64)
_CONFIG = SamplerConfig(1, Process(), "cpu")


_FIGURE = Figure("momo", ("1girl",), ("pink_hair",))


def _scenes(count: int) -> tuple[Scene, ...]:
    return scenes(_FIGURE, ShotPlan(), Redraw(candidates=count))


def _draw(store: Store, base: CheckpointRef, lora: LoraRef, count: int, column: Column = Column("1", 1.0)) -> list[str]:  # noqa: B008
    return [
        one.image
        for one in read_redrawn(
            store, draw_scenes(store, base, lora, column, _scenes(count), _OPTIONS, _CONFIG)
        ).pictures
    ]


def test_every_scene_is_drawn_once_with_the_epoch_that_was_asked_for(
    store: Store, base: CheckpointRef, lora: LoraRef
) -> None:
    ref = draw_scenes(store, base, lora, Column("1", 1.0), _scenes(3), _OPTIONS, _CONFIG)
    found = read_redrawn(store, ref)
    assert tuple(one.scene for one in found.pictures) == _scenes(3)
    assert set(store.tree(ref.sha256)) == {"redrawn-001.png", "redrawn-002.png", "redrawn-003.png", "scenes.json"}
    assert [(one.width, one.height) for one in found.pictures] == [(64, 64)] * 3
    assert _draw(store, base, lora, 3) != _draw(store, base, lora, 3, Column("2", 1.0))


def test_drawing_more_draws_only_what_is_missing(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = _draw(store, base, lora, 2)
    shots: list[int] = []
    generate = sampler.generate
    monkeypatch.setattr(sampler, "generate", lambda *args: shots.append(len(args[1])) or generate(*args))
    assert _draw(store, base, lora, 4)[:2] == few
    assert shots == [2]
    assert _draw(store, base, lora, 4)[:2] == few
    assert shots == [2]


def test_a_drawing_that_is_broken_off_goes_on_and_ends_in_the_same_pictures(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    generate = sampler.generate
    calls: list[int] = []

    def breaking(*args: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler, "generate", breaking)
    with pytest.raises(KeyboardInterrupt):
        _draw(store, base, lora, 4)
    broken_off = _draw(store, base, lora, 4)
    assert len(calls) == 3
    elsewhere = Store(tmp_path_factory.mktemp("undisturbed"))
    for ref in (base, lora):
        elsewhere.put_tree(store.tree(ref.sha256))
    assert _draw(elsewhere, base, lora, 4) == broken_off


def test_a_screenshot_is_begun_with_where_the_scene_says_so_and_another_one_draws_another_picture(
    store: Store, base: CheckpointRef, lora: LoraRef
) -> None:
    """Scenes alternate; the pictures keep their order, though a batch holds one kind."""
    shots = tuple(Seen(name, "portrait", ("portrait", "1girl")) for name in ("one", "two"))
    planned = scenes(_FIGURE, ShotPlan(), Redraw(candidates=4, from_screenshots=0.5), shots)

    def drawn(colour: str) -> list[str]:
        picture = BytesIO()
        Image.new("RGB", (80, 80), colour).save(picture, "PNG")
        digest = store.put_bytes(picture.getvalue())
        entries = tuple(Entry(name=n, source=n, image=digest, width=80, height=80) for n in ("one", "two"))
        begins = begins_of(store, Manifest(entries=entries), 0.5)
        ref = draw_scenes(store, base, lora, Column("1", 1.0), planned, _OPTIONS, _CONFIG, begins=begins)
        assert tuple(one.scene for one in read_redrawn(store, ref).pictures) == planned
        return [one.image for one in read_redrawn(store, ref).pictures]

    same = [one == other for one, other in zip(drawn("red"), drawn("blue"), strict=True)]
    assert same == [not scene.screenshot for scene in planned]
    assert sum(same) == 2


def test_of_a_tall_screenshot_the_upper_square_is_begun_with_and_nothing_is_squeezed(store: Store) -> None:
    tall = Image.new("RGB", (40, 60), "red")
    tall.paste("blue", (0, 40, 40, 60))
    buffer = BytesIO()
    tall.save(buffer, "PNG")
    entry = Entry(name="tall", source="tall", image=store.put_bytes(buffer.getvalue()), width=40, height=60)
    begun = begins_of(store, Manifest(entries=(entry,)), 0.6)["tall"].read()
    assert (begun.size, begun.getcolors()) == ((40, 40), [(1600, (255, 0, 0))])


def test_an_epoch_that_the_lora_does_not_have_is_refused(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    with pytest.raises(LoraError, match="has no epoch 7"):
        _draw(store, base, lora, 1, Column("7", 1.0))
