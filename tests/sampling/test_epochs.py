"""Samplings in the store: what is drawn, what is kept, what is drawn anew."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_graphs import FakeGraphs
from PIL import Image

from lora_core.diffusion.engine import Engine
from lora_core.diffusion.recorder import Recorder
from lora_core.errors import LoraError
from lora_core.recipe import Process, Sampling
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.sampling import sampler
from lora_core.sampling.epochs import STYLE_PICTURES, epoch_files, sample_epochs, sample_merged, sample_style
from lora_core.sampling.sampler import SamplerConfig
from lora_core.sampling.samples import Column, load_samples, samples_manifest
from lora_core.store import Store

OPTIONS = Sampling(
    prompts=("{trigger}, a", "b"), seeds=(1, 2), steps=2, width=64, height=64, batch=2, negative="bad", cfg=3.0,
    weights=(1.0,),
)  # fmt: skip
CONFIG = SamplerConfig(1, Process(), "cpu")


def sample(store: Store, base: CheckpointRef, lora: LoraRef, options: Sampling = OPTIONS) -> ReportRef:
    return sample_epochs(store, base, lora, options, CONFIG, trigger="hc_mira")


def picture(store: Store, ref: ReportRef, file: str) -> Image.Image:
    return Image.open(BytesIO(store.tree(ref.sha256)[file].read_bytes()))


def test_every_prompt_and_seed_is_drawn_without_the_lora_and_with_every_epoch(
    store: Store, base: CheckpointRef, lora: LoraRef
) -> None:
    ref = sample(store, base, lora)
    drawn = load_samples(store, ref)
    assert drawn.epochs == ("none", "1", "2")
    assert drawn.lora_files == (("1", "Mira-000001.safetensors"), ("2", "Mira.safetensors"))
    assert {sample.prompt for sample in drawn.samples} == {"hc_mira, a", "b"}
    folders = ("none", "1-w1", "2-w1")
    names = {f"samples/{folder}/{prompt}-{seed}.png" for folder in folders for prompt in (0, 1) for seed in (1, 2)}
    assert set(store.tree(ref.sha256)) == {*names, "grid.png", "samples.json"}
    pictures = [picture(store, ref, f"samples/{folder}/0-1.png").tobytes() for folder in folders]
    assert len(set(pictures)) == 3


def test_the_grid_has_a_column_without_the_lora(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    ref = sample(store, base, lora)
    grid = np.asarray(picture(store, ref, "grid.png").convert("RGB"), dtype=int)
    without = np.asarray(picture(store, ref, "samples/none/0-1.png"), dtype=int)
    left, top = 20 + 210, 94
    assert np.abs(grid[top : top + 64, left : left + 64] - without).max() == 0


def test_the_column_without_the_lora_is_the_bare_base(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    epochs_ref = sample(store, base, lora)
    check = sample_merged(store, base, ("b",), OPTIONS, CONFIG)
    one, other = picture(store, epochs_ref, "samples/none/1-1.png"), picture(store, check, "samples/merged/0-1.png")
    assert np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max() <= 1


def test_pictures_say_how_they_were_made(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    ref = sample(store, base, lora)
    assert picture(store, ref, "samples/1-w1/0-2.png").info["parameters"] == (
        "hc_mira, a <lora:Mira-000001:1>\n"
        "Negative prompt: bad\n"
        "Steps: 2, Sampler: DPM++ 2M Karras, CFG scale: 3, Seed: 2, Size: 64x64, RNG: CPU"
    )
    assert "<lora" not in picture(store, ref, "samples/none/0-2.png").info["parameters"]


def test_replayed_steps_draw_the_same_pictures_with_every_columns_own_lora(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = OPTIONS.model_copy(update={"steps": 6, "prompts": ("a",)})
    expected = sample(store, base, lora, options)
    fake = FakeGraphs(lambda inputs: inputs[0].shape)

    class Recording(Engine):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.recorder = Recorder(fake)

    monkeypatch.setattr(sampler, "Engine", Recording)
    forgetful = Store(store.root, forgetful=True)
    assert sample(forgetful, base, lora, options) == expected
    assert fake.recorded == 3  # once without a LoRA and once for each of the two epochs


def test_a_second_sampling_loads_no_model(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample(store, base, lora)
    monkeypatch.delattr(sampler, "load_for_drawing")
    assert sample(store, base, lora) == first


def test_a_lost_picture_is_drawn_again_with_the_same_bytes(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    first = sample(store, base, lora)
    store.path(load_samples(store, first).samples[5].image).unlink()
    assert sample(store, base, lora) == first
    assert store.has_all(first)


def test_another_seed_draws_only_what_is_new(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = OPTIONS.model_copy(update={"batch": 1})
    sample(store, base, lora, options)
    drawn = []
    generate = sampler.generate
    monkeypatch.setattr(
        sampler, "generate", lambda components, shots, *rest: drawn.extend(shots) or generate(components, shots, *rest)
    )
    sample(store, base, lora, options.model_copy(update={"seeds": (1, 2, 3)}))
    assert {shot.seed for shot in drawn} == {3}
    assert len(drawn) == 2 * 3


def test_another_lora_draws_no_picture_of_the_bare_base_again(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample(store, base, lora)
    other = LoraRef(sha256=store.put_tree({"Nele.safetensors": store.path(epoch_files(store, lora)[0].sha256)}))
    drawn = []
    generate = sampler.generate
    monkeypatch.setattr(
        sampler, "generate", lambda components, shots, *rest: drawn.extend(shots) or generate(components, shots, *rest)
    )
    sample(store, base, other)
    assert len(drawn) == 2 * 2


def test_every_weight_has_a_column_and_the_lora_is_read_once_an_epoch(
    store: Store, base: CheckpointRef, lora: LoraRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_lora = sampler.read_lora
    monkeypatch.setattr(sampler, "read_lora", lambda path, name: read.append(name) or read_lora(path, name))
    ref = sample(store, base, lora, OPTIONS.model_copy(update={"weights": (0.5, 1.0)}))
    drawn = load_samples(store, ref)
    assert drawn.columns == (("none", 0), ("1", 0.5), ("1", 1.0), ("2", 0.5), ("2", 1.0))
    assert read == ["Mira-000001.safetensors", "Mira.safetensors"]
    assert len({one.image for one in drawn.samples if (one.prompt_index, one.seed) == (0, 1)}) == 5
    assert {one.image for one in drawn.of("2", 1.0)} < {one.image for one in drawn.of("2")}


def test_a_columns_pictures_do_not_depend_on_the_other_columns(
    store: Store, base: CheckpointRef, lora: LoraRef, tmp_path: Path
) -> None:
    """What was attached before leaves nothing behind."""
    both = load_samples(store, sample(store, base, lora, OPTIONS.model_copy(update={"weights": (0.5, 1.0)})))
    fresh = Store(tmp_path / "fresh")
    for ref in (base, lora):
        fresh.put_tree(store.tree(ref.sha256))
    alone = sample_epochs(fresh, base, lora, OPTIONS, CONFIG, trigger="hc_mira", only=Column("2", 1.0))
    drawn = load_samples(fresh, alone)
    assert drawn.columns == (("none", 0), ("2", 1.0))
    assert [one.image for one in drawn.of("2")] == [one.image for one in both.of("2", 1.0)]


def test_a_style_check_shows_the_base_without_and_with_the_last_epoch(
    store: Store, base: CheckpointRef, lora: LoraRef
) -> None:
    drawn = load_samples(store, sample_style(store, base, lora, "a", OPTIONS, CONFIG))
    assert drawn.columns == (("none", 0), ("style", 1))
    assert drawn.lora_files == (("style", "Mira.safetensors"),)
    assert [one.seed for one in drawn.of("style")] == list(range(1, STYLE_PICTURES + 1))


def test_a_merge_check_draws_every_prompt_once_with_seeds_of_their_own(store: Store, base: CheckpointRef) -> None:
    hires = OPTIONS.model_copy(update={"hires": 2.0})
    drawn = load_samples(store, sample_merged(store, base, ("a", "b", "c"), hires, CONFIG))
    assert [(one.prompt, one.seed, one.width) for one in drawn.samples] == [("a", 1, 64), ("b", 2, 64), ("c", 3, 64)]


def test_progress_runs_from_start_to_end_even_when_everything_is_kept(
    store: Store, base: CheckpointRef, lora: LoraRef
) -> None:
    for _ in range(2):
        heard: list[tuple[int, int]] = []

        def listen(done: int, total: int, note: str = "", heard: list[tuple[int, int]] = heard) -> None:
            heard.append((done, total))

        sample_epochs(store, base, lora, OPTIONS, CONFIG, trigger="x", progress=listen)
        assert heard == sorted(heard)
        assert heard[-1] == (24, 24)


def test_samples_can_be_tagged_like_screenshots(store: Store, base: CheckpointRef, lora: LoraRef) -> None:
    drawn = load_samples(store, sample(store, base, lora))
    manifest = samples_manifest(drawn)
    assert [entry.image for entry in manifest.entries] == [sample.image for sample in drawn.samples]
    assert manifest.entries[0].name == "none-0-1"


def lora_tree(store: Store, tmp_path: Path, *names: str) -> LoraRef:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    return LoraRef(sha256=store.put_tree(dict.fromkeys(names, file)))


def test_the_file_without_a_number_is_the_last_epoch(store: Store, tmp_path: Path) -> None:
    ref = lora_tree(store, tmp_path, "A-9.safetensors", "A-9-000002.safetensors", "A-9-000010.safetensors", "loss.json")
    assert [(file.epoch, file.file) for file in epoch_files(store, ref)] == [
        (2, "A-9-000002.safetensors"),
        (10, "A-9-000010.safetensors"),
        (11, "A-9.safetensors"),
    ]


def test_a_name_that_ends_in_six_digits_is_no_epoch_number(store: Store, tmp_path: Path) -> None:
    files = epoch_files(store, lora_tree(store, tmp_path, "A-000007.safetensors"))
    assert [(file.epoch, file.file) for file in files] == [(1, "A-000007.safetensors")]


def test_files_of_two_loras_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LoraError, match=r"Other\.safetensors"):
        epoch_files(store, lora_tree(store, tmp_path, "A.safetensors", "Other.safetensors"))


def test_a_lora_without_a_file_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LoraError, match=r"no \.safetensors file"):
        epoch_files(store, lora_tree(store, tmp_path, "loss.json"))
