import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from short_training import key_of, trained

from lora_core.dataset import Manifest
from lora_core.errors import CheckpointError, ImageError, LoraError, TrainingError
from lora_core.lora.file import read_lora
from lora_core.recipe import Network, Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import latents, loop
from lora_core.training.batch import Batch
from lora_core.training.run import TrainingSet, plan, train


@pytest.fixture(scope="module")
def files(
    new_base: Any, new_sets: Any, usual: Training, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """What the usual training leaves; nobody may change it."""
    store = Store(tmp_path_factory.mktemp("files") / "store")
    return store.tree(trained(store, new_base(store), new_sets(store), usual).sha256)


def test_every_epoch_is_a_lora_file_and_the_last_has_the_plain_name(files: Mapping[str, Path]) -> None:
    assert list(files) == ["hero-000001.safetensors", "hero-000002.safetensors", "hero.safetensors", "loss.json"]
    first, last = read_lora(files["hero-000001.safetensors"]), read_lora(files["hero.safetensors"])
    assert {name.split("_")[1] for name in last.modules} == {"te", "unet"}
    assert all(module.rank == 4 and module.alpha == 2 for module in last.modules.values())
    assert all(module.up.abs().max() > 0 for module in last.modules.values())
    assert any((first.modules[name].up != module.up).any() for name, module in last.modules.items())


def test_the_header_tells_what_was_done(
    files: Mapping[str, Path], drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    with safe_open(files["hero-000002.safetensors"], framework="pt") as file:
        metadata = file.metadata()
    steps = plan(drawn_sets, options).epoch_steps
    assert metadata["ss_output_name"] == "hero"
    assert (metadata["ss_epoch"], metadata["ss_steps"]) == ("2", str(sum(steps[:2])))
    assert (metadata["ss_max_train_steps"], metadata["ss_num_epochs"]) == (str(sum(steps)), "3")
    assert metadata["modelspec.trigger_phrase"] == "hc_hero"
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert json.loads(metadata["ss_tag_frequency"])["2_hc_hero 32px"]["cat ears"] == 3
    assert {"sshs_model_hash", "sshs_legacy_hash"} <= metadata.keys()


def test_the_golden_header_keys_are_the_ones_written(files: Mapping[str, Path]) -> None:
    """Every key is one that sd-scripts writes too, except for the trigger, which the model spec names."""
    golden = json.loads((Path(__file__).parents[1] / "golden" / "metadata_keys.json").read_bytes())
    with safe_open(files["hero.safetensors"], framework="pt") as file:
        written = set(file.metadata())
    assert written - set(golden["stage3_reg_bucket"]) <= {"modelspec.trigger_phrase", "ss_optimizer_args"}


def test_progress_counts_steps_and_tells_the_loss(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    heard: list[tuple[int, int, str]] = []

    def listen(done: int, total: int, note: str = "") -> None:
        heard.append((done, total, note))

    train(
        store,
        base,
        drawn_sets,
        options,
        name="hero",
        clip_skip=1,
        device="cpu",
        key=key_of("a training"),
        trigger="",
        progress=listen,
    )
    total = plan(drawn_sets, options).total_steps
    steps = [(done, note) for done, _, note in heard if note.startswith("loss ")]
    assert [done for done, _ in steps] == list(range(1, total + 1))
    assert {each for _, each, _ in heard} == {total}


def test_only_the_parts_with_a_learning_rate_are_in_the_file(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    unet_only = options.model_copy(update={"text_encoder_lr": 0.0, "epochs": 1})
    files = store.tree(trained(store, base, drawn_sets, unet_only).sha256)
    assert {name.split("_")[1] for name in read_lora(files["hero.safetensors"]).modules} == {"unet"}


def test_training_nothing_is_refused(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    with pytest.raises(LoraError, match="learning rate"):
        trained(store, base, drawn_sets, options.model_copy(update={"text_encoder_lr": 0.0, "unet_lr": 0.0}))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = plan(drawn_sets, options).steps_per_epoch
    whole = loop.Stepper.loss
    calls: list[int] = []

    def breaking(self: loop.Stepper, batch: Batch) -> torch.Tensor:
        calls.append(1)
        loss = whole(self, batch)
        return loss * float("nan") if len(calls) == first + 2 else loss

    with monkeypatch.context() as patch:
        patch.setattr(loop.Stepper, "loss", breaking)
        with pytest.raises(TrainingError, match=rf"step {first + 2} of .*loss nan.*pictures in the batch: .*\.png"):
            trained(store, base, drawn_sets, options)
    resumed = trained(store, base, drawn_sets, options)
    assert resumed == trained(store, base, drawn_sets, options, word="undisturbed")


def test_a_finished_training_is_answered_from_its_folder(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = trained(store, base, drawn_sets, options)
    monkeypatch.setattr(loop.Stepper, "step", None)
    assert trained(store, base, drawn_sets, options) == first


def test_a_damaged_state_is_named(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    (store.work_folder(key_of("a training")) / "state.safetensors").write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match=r"state\.safetensors.*damaged"):
        trained(store, base, drawn_sets, options)


def test_a_picture_that_is_none_is_named(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    entry = drawn_sets[0].manifest.entries[0].model_copy(update={"image": store.put_bytes(b"no picture")})
    broken = dataclasses.replace(drawn_sets[0], manifest=Manifest(entries=(entry,)))
    with pytest.raises(ImageError, match=r"hero_0\.png"):
        trained(store, base, (broken,), options)


def test_an_option_changes_what_is_learned(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    changes = ({}, {"shuffle_caption": True}, {"caption_dropout": 0.5}, {"min_snr_gamma": 5.0}, {"warmup_steps": 4})
    chosen = [options.model_copy(update={"epochs": 1, **each}) for each in changes]
    refs = [trained(store, base, drawn_sets, each, str(number)) for number, each in enumerate(chosen)]
    plain, *others = (read_lora(store.tree(ref.sha256)["hero.safetensors"]).modules for ref in refs)
    for changed in others:
        assert any((plain[name].up != changed[name].up).any() for name in plain)


def test_a_base_whose_files_are_missing_is_refused(
    store: Store, drawn_sets: tuple[TrainingSet, ...], options: Training, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    base = CheckpointRef(sha256=store.put_tree({"unet/config.json": tmp_path / "config.json"}))
    with pytest.raises(CheckpointError):
        trained(store, base, drawn_sets, options)


def test_the_header_tells_the_options_in_sd_scripts_words(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    chosen = Training.model_validate(
        {
            **options.model_dump(),
            "epochs": 1,
            "optimizer": "adafactor",
            "scheduler": "cosine",
            "warmup_steps": 2,
            "accumulation": 2,
            "gradient_checkpointing": True,
            "debiased": True,
            "ema_decay": 0.5,
            "prior_preservation": "teacher",
            "network": {"kind": "lokr", "conv_rank": 2, "factor": 4, "rank_dropout": 0.1, "max_norm": 1},
            "noise": {"offset": 0.05, "input_perturbation": 0.1},
        }
    )
    files = store.tree(trained(store, base, drawn_sets, chosen).sha256)
    with safe_open(files["hero.safetensors"], framework="pt") as file:
        metadata = file.metadata()
    wanted = {
        "ss_optimizer": "transformers.optimization.Adafactor",
        "ss_optimizer_args": "weight_decay=0.01,relative_step=False,scale_parameter=False,warmup_init=False",
        "ss_lr_scheduler": "cosine",
        "ss_lr_warmup_steps": "2",
        "ss_batch_size_per_device": "2",
        "ss_gradient_accumulation_steps": "2",
        "ss_gradient_checkpointing": "True",
        "ss_debiased_estimation": "True",
        "ss_min_snr_gamma": "None",
        "ss_noise_offset": "0.05",
        "ss_multires_noise_iterations": "None",
        "ss_ip_noise_gamma": "0.1",
        "ss_network_module": "lycoris.kohya",
        "ss_network_dropout": "None",
        "ss_scale_weight_norms": "1.0",
        "headcanon.prior_preservation": "teacher",
        "headcanon.ema_decay": "0.5",
    }
    assert {key: metadata.get(key) for key in wanted} == wanted
    arguments = {"algo": "lokr", "factor": "4", "conv_dim": "2", "conv_alpha": "1.0", "rank_dropout": "0.1"}
    assert json.loads(metadata["ss_network_args"]) == arguments
    steps = plan(drawn_sets, chosen).epoch_steps
    assert metadata["ss_steps"] == metadata["ss_max_train_steps"] == str(sum(steps))
    assert sum(steps) < sum(plan(drawn_sets, chosen.model_copy(update={"accumulation": 1})).epoch_steps)


def test_latents_are_encoded_once_for_all_trainings_on_the_same_vae(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the bytes of picture and VAE: another seed draws another sample of what was kept."""
    once = options.model_copy(update={"epochs": 1})
    encoded: list[str] = []
    whole = latents._encoded

    def counting(store: Store, vae: object, pictures: Sequence[latents.Picture]) -> object:
        encoded.extend(picture.entry.source for picture in pictures)
        return whole(store, vae, pictures)

    monkeypatch.setattr(latents, "_encoded", counting)
    first = trained(store, base, drawn_sets, once)
    assert len(encoded) == len(set(encoded)) == 7
    assert trained(store, base, drawn_sets, once, word="other") == first
    assert trained(store, base, drawn_sets, once.model_copy(update={"seed": 8}), word="another seed") != first
    assert len(encoded) == 7
    for path in (store.root / "objects").glob("??/*"):
        if path.stat().st_size < 5000 and path.read_bytes()[8:20] == b'{"deviation"':
            path.write_bytes(b"rubbish")
    assert trained(store, base, drawn_sets, once, word="healed") == first
    assert len(encoded) == 14


def test_held_out_pictures_are_measured_without_dropout(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training
) -> None:
    def held_out_losses(dropout: float) -> list[float]:
        changed = {"epochs": 1, "validation_share": 0.3, "network": Network(dropout=dropout)}
        found = trained(store, base, drawn_sets, options.model_copy(update=changed), str(dropout))
        table = json.loads(store.tree(found.sha256)["loss.json"].read_bytes())
        return [each["loss"] for each in table["validation"]]

    left_out, whole = held_out_losses(0.5), held_out_losses(0.0)
    assert left_out[0] == whole[0]
    assert left_out[1] != whole[1]
