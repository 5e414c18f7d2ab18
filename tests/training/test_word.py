"""Textual inversion: a word's vectors are learned, in the format of web UIs, and nothing else is changed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from short_training import trained

from lora_core.captions.emphasis import literal
from lora_core.dataset import Manifest
from lora_core.diffusion.chunks import chunked
from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.condition import read_texts
from lora_core.diffusion.words import places_of, spelled
from lora_core.errors import CheckpointError
from lora_core.hub import find_model_files
from lora_core.hub.find import OWN_WORDS
from lora_core.progress import Stopped
from lora_core.recipe import StyleTraining
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.samples import TrainingSet
from lora_core.training.word import word_layers, write_word

WORD = "hero"


def _said(components: Components, text: str) -> torch.Tensor:
    ids = [chunked(tokenizer, literal(text)).ids for tokenizer in components.tokenizers]
    return read_texts(components, ids, clip_skip=1).states


def test_a_word_is_found_where_its_tokens_stand_one_behind_another() -> None:
    ids = torch.tensor([[9, 5, 6, 7, 5, 6, 8], [5, 6, 7, 5, 6, 7, 9], [6, 7, 9, 9, 9, 5, 6]])
    assert places_of(ids, (5, 6, 7)).tolist() == [[0, 1, 2, 3, 0, 0, 0], [1, 2, 3, 1, 2, 3, 0], [0] * 7]


@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_every_text_encoder_reads_the_vectors_where_the_word_stands_and_all_else_as_before(
    workshop: Any, tmp_path: Path, architecture: Any
) -> None:
    path = workshop.single_file(tmp_path / "base.safetensors", architecture)
    components = workshop.load(path)
    texts = (f"{WORD}, 1girl", "1girl, heroine", "1girl, her o")
    before = [_said(components, text) for text in texts]
    weights = {name: value.clone() for name, value in components.text_encoders[-1].state_dict().items()}
    layers = word_layers(components, WORD)
    torch.testing.assert_close(_said(components, texts[0]), before[0])
    with torch.no_grad():
        for layer in layers:
            layer.matrices["vectors"].add_(0.5)
    changed = _said(components, texts[0])
    halves = changed.chunk(len(components.text_encoders), -1), before[0].chunk(len(components.text_encoders), -1)
    assert all(not torch.allclose(now, then) for now, then in zip(*halves, strict=True))
    for text, then in zip(texts[1:], before[1:], strict=True):
        assert torch.equal(_said(components, text), then)
    assert all(torch.equal(weights[name], value) for name, value in components.text_encoders[-1].state_dict().items())

    write_word(tmp_path / f"{WORD}.safetensors", {each.name: each.matrices for each in layers}, torch.float32, {})
    stored = load_file(tmp_path / f"{WORD}.safetensors")
    width, tokens = components.text_encoders[0].config.hidden_size, len(spelled(components.tokenizers[0], WORD))
    keys = ["clip_g", "clip_l"] if architecture == "sdxl" else ["emb_params"]
    assert {key: list(value.shape) for key, value in stored.items()} == {key: [tokens, width] for key in keys}
    files = find_model_files(str(path), "") | {f"{OWN_WORDS}{WORD}.safetensors": tmp_path / f"{WORD}.safetensors"}
    again = load_components(files, device=torch.device("cpu"), dtype=torch.float32)
    assert torch.equal(_said(again, texts[0]), changed)
    files[f"{OWN_WORDS}longer_word.safetensors"] = tmp_path / f"{WORD}.safetensors"
    with pytest.raises(CheckpointError, match="no embedding of 'longer_word' for this base"):
        load_components(files, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def style_set(drawn_sets: tuple[TrainingSet, ...]) -> tuple[TrainingSet, ...]:
    """Five discs, one of which is held out."""
    pictures = (*drawn_sets[0].manifest.entries, *drawn_sets[2].manifest.entries)
    entries = tuple(one.model_copy(update={"caption": (WORD, "1girl", "tag")}) for one in pictures)
    return (replace(drawn_sets[0], manifest=Manifest(entries=entries), repeats=10),)


OPTIONS = StyleTraining(
    inversion=True, resolution=64, epochs=3, batch=2, unet_lr=1e-3, text_encoder_lr=2e-2, validation_share=0.25,
    save_precision="fp32", weight_decay=0,
)  # fmt: skip


def test_a_training_lowers_the_loss_and_leaves_an_embedding_that_web_uis_read(
    store: Store, base: CheckpointRef, style_set: tuple[TrainingSet, ...]
) -> None:
    files = store.tree(trained(store, base, style_set, OPTIONS).sha256)
    assert list(files) == ["hero-000001.safetensors", "hero-000002.safetensors", "hero.safetensors", "loss.json"]
    before, *_, after = (each["loss"] for each in json.loads(files["loss.json"].read_text())["validation"])
    assert after < before
    with safe_open(files["hero.safetensors"], framework="pt") as file:
        assert list(file.keys()) == ["emb_params"]
        assert file.get_tensor("emb_params").shape == (4, 32)
        assert file.metadata()["modelspec.architecture"].endswith("/textual-inversion")
        assert not [key for key in file.metadata() if key.startswith("ss_network")]


def test_a_training_that_was_stopped_goes_on_to_the_same_bytes(
    store: Store, base: CheckpointRef, style_set: tuple[TrainingSet, ...]
) -> None:
    whole = store.tree(trained(store, base, style_set, OPTIONS).sha256)["hero.safetensors"].read_bytes()

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 20:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        trained(store, base, style_set, OPTIONS, word="again", progress=stop)
    again = trained(store, base, style_set, OPTIONS, word="again")
    assert store.tree(again.sha256)["hero.safetensors"].read_bytes() == whole
