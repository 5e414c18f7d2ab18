"""A training that begins with an earlier LoRA: it goes on from its values, and refuses one of another shape."""

import pytest
import torch
from safetensors import safe_open
from short_training import key_of, trained

from lora_core.errors import LoraError
from lora_core.lora.file import read_lora
from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.training.run import TrainingSet, train


def begun_with(
    store: Store, base: CheckpointRef, sets: tuple[TrainingSet, ...], options: Training, start: LoraRef
) -> LoraRef:
    return train(
        store, base, sets, options, name="hero", clip_skip=1, device="cpu", key=key_of("begun"), trigger="hc_hero",
        progress=silent, start=start,
    )  # fmt: skip


@pytest.fixture
def earlier(store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training) -> LoraRef:
    """The last epoch's file of a whole training, as one that was published."""
    file = store.tree(trained(store, base, drawn_sets, options).sha256)["hero.safetensors"]
    return LoraRef(sha256=store.put_tree({"hero-v1.safetensors": file}))


def test_at_a_rate_of_almost_nothing_the_earlier_values_come_out(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training, earlier: LoraRef
) -> None:
    still = options.model_copy(update={"unet_lr": 1e-12, "text_encoder_lr": 1e-12, "epochs": 1})
    before = read_lora(store.tree(earlier.sha256)["hero-v1.safetensors"])
    path = store.tree(begun_with(store, base, drawn_sets, still, earlier).sha256)["hero.safetensors"]
    after = read_lora(path)
    for name, module in before.modules.items():
        for key, tensor in module.tensors.items():
            torch.testing.assert_close(after.modules[name].tensors[key].float(), tensor.float(), rtol=1e-3, atol=1e-6)
    assert max(module.up.abs().max().item() for module in after.modules.values()) > 1e-4
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["headcanon.start"] == "hero-v1.safetensors"


def test_a_lora_of_another_rank_is_refused(
    store: Store, base: CheckpointRef, drawn_sets: tuple[TrainingSet, ...], options: Training, earlier: LoraRef
) -> None:
    with pytest.raises(LoraError, match="no training can begin with it"):
        begun_with(store, base, drawn_sets, options.model_copy(update={"rank": 2}), earlier)
