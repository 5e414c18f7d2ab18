"""A trained-looking LoRA for each tiny architecture."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lora_core.lora.file import write_lora
from lora_core.lora.inject import inject


class Made:
    """A base, a LoRA on it, and what the base with that LoRA in training draws."""

    def __init__(self, workshop: Any, folder: Path, architecture: Any) -> None:
        self.single = workshop.single_file(folder / f"{architecture}.safetensors", architecture)
        self.lora = folder / f"{architecture}-lora.safetensors"
        self.other_rank = folder / f"{architecture}-other.safetensors"
        for path, rank in ((self.lora, 4), (self.other_rank, 3)):
            base = workshop.load(self.single)
            layers = inject(base, rank=rank, alpha=2.0, unet=True, text_encoder=True, seed=rank)
            generator = torch.Generator().manual_seed(rank)
            for layer in layers:
                layer.up.data.normal_(0, 0.05, generator=generator)
            modules = {layer.name: layer.in_file() for layer in layers}
            write_lora(path, modules, dtype=torch.float32, metadata={"ss_network_dim": str(rank)})
            if path == self.lora:
                self.drawn = workshop.draw(base)


@pytest.fixture(scope="session")
def made(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """By architecture."""
    folder = tmp_path_factory.mktemp("loras")
    return {architecture: Made(workshop, folder, architecture) for architecture in ("sd1", "sd2", "sdxl")}
