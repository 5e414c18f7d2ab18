"""Half precision with every kind: the frozen model and the activations are bf16, the LoRA and the VAE stay fp32."""

import hashlib
from typing import Any

import pytest
import torch

from lora_core.lora.file import read_lora
from lora_core.progress import silent
from lora_core.recipe import Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training import run
from lora_core.training.samples import TrainingSet


@pytest.mark.parametrize("kind", ["lora", "dora", "loha", "lokr"])
def test_every_kind_trains_in_bf16(
    store: Store,
    base: CheckpointRef,
    drawn_sets: tuple[TrainingSet, ...],
    options: Training,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    seen: list[Any] = []
    whole = run.Stepper

    def watched(components: Any, layers: Any, *more: Any, **named: Any) -> Any:
        seen.append((components, layers))
        return whole(components, layers, *more, **named)

    monkeypatch.setattr(run, "Stepper", watched)
    network = {"kind": kind, "conv_rank": 2, "module_dropout": 0.1, "rank_dropout": 0.1, "max_norm": 1}
    more = {"epochs": 1, "precision": "bf16", "prior_preservation": "teacher", "gradient_checkpointing": True}
    chosen = Training.model_validate({**options.model_dump(), **more, "ema_decay": 0.5, "network": network})
    ref = run.train(
        store,
        base,
        (drawn_sets[0], drawn_sets[2]),
        chosen,
        name="hero",
        clip_skip=1,
        device="cpu",
        key=hashlib.sha256(kind.encode()).hexdigest(),
        trigger="",
        progress=silent,
    )
    ((components, layers),) = seen
    assert components.unet.conv_in.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in components.vae.parameters()} == {torch.float32}
    assert {matrix.dtype for layer in layers for matrix in layer.matrices.values()} == {torch.float32}
    modules = read_lora(store.tree(ref.sha256)["hero.safetensors"]).modules
    assert len(modules) == len(layers)
