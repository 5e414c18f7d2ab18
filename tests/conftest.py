"""A workshop for tiny Stable Diffusion models with random weights, as diffusers folders and as single files."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from diffusers import AutoencoderKL, UNet2DConditionModel
from hypothesis import settings
from prefect_server import prefect_server
from safetensors.torch import save_file
from small_disk import SmallDisk
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lora_core.diffusion.components import Components, load_components
from lora_core.diffusion.tokenizer import clip_vocabulary
from lora_core.hub import find_model_files
from lora_core.hub.detect import Architecture
from lora_core.hub.layout import OriginalLayout, Part, TextEncoderAt

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores; more threads than that only wait for each other.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1  # more are processes, which import torch before they compile anything
torch._inductor.config.cpp_cache_precompile_headers = False  # pays from the tenth kernel on; a test compiles one


# `make test` says the same wherever it runs; `make explore` looks for more, and what it finds becomes an @example.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", max_examples=2000, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first: at the end no process is left alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


_SHIPPED = Path(__file__).parents[1] / "lora_core/diffusion/configs"
_LAYOUTS: dict[Architecture, OriginalLayout] = {
    "sd1": OriginalLayout(
        "sd1", 1, (False, True), 2, (TextEncoderAt("cond_stage_model.transformer.text_model.", "transformers"),)
    ),
    "sd2": OriginalLayout("sd2", 1, (False, True), 2, (TextEncoderAt("cond_stage_model.model.", "open_clip"),)),
    "sdxl": OriginalLayout(
        "sdxl",
        2,
        (True, True, False),
        2,
        (
            TextEncoderAt("conditioner.embedders.0.transformer.text_model.", "transformers"),
            TextEncoderAt("conditioner.embedders.1.model.", "open_clip"),
        ),
    ),
}


class Workshop:
    """Makes tiny models. The same architecture always has the same weights; nobody may change `models`."""

    def __init__(self, root: Path, vae_levels: int = 2) -> None:
        """`vae_levels`: 4, as real models have, makes latents of an eighth of a picture's sides, quick to train on."""
        self._root = root
        self.layouts = {name: replace(layout, vae_levels=vae_levels) for name, layout in _LAYOUTS.items()}
        self._made: dict[Architecture, dict[Part, nn.Module]] = {}

    def configs(self, architecture: Architecture) -> dict[str, dict[str, Any]]:
        """The architecture's own configs, with few channels and layers."""
        layout = self.layouts[architecture]
        configs: dict[str, dict[str, Any]] = json.loads((_SHIPPED / f"{architecture}.json").read_text())
        configs["unet"] |= _small_unet(layout)
        configs["vae"] |= {
            "block_out_channels": [32] * (layout.vae_levels - 1) + [64],
            "layers_per_block": 1,
            "down_block_types": ["DownEncoderBlock2D"] * layout.vae_levels,
            "up_block_types": ["UpDecoderBlock2D"] * layout.vae_levels,
        }
        for part in ("text_encoder", "text_encoder_2"):
            if part in configs:
                configs[part] |= {
                    "hidden_size": 64,
                    "intermediate_size": 128,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 1,
                    "projection_dim": 64,
                }
        return configs

    def models(self, architecture: Architecture) -> dict[Part, nn.Module]:
        """The models, with random weights."""
        if architecture in self._made:
            return self._made[architecture]
        configs = self.configs(architecture)
        torch.manual_seed(0)
        models: dict[Part, nn.Module] = {
            "unet": UNet2DConditionModel.from_config(configs["unet"]),
            "vae": AutoencoderKL.from_config(configs["vae"]),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
        }
        if "text_encoder_2" in configs:
            models["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**configs["text_encoder_2"]))
        self._made[architecture] = {part: model.eval().requires_grad_(False) for part, model in models.items()}
        return self._made[architecture]

    def single_file(
        self,
        path: Path,
        architecture: Architecture,
        dtype: torch.dtype = torch.float32,
        metadata: dict[str, str] | None = None,
    ) -> Path:
        """Write the models as one file in the original layout, with what else such files hold."""
        tensors = original_tensors(self.models(architecture), self.layouts[architecture])
        tensors = {key: value.to(dtype) for key, value in tensors.items()}
        tensors["model_ema.decay"] = torch.zeros(())
        if architecture == "sd1":
            tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(tensors, path, metadata)
        return path

    def folder(self, folder: Path, architecture: Architecture, variant: str | None = None) -> Path:
        """Write the models as a diffusers folder."""
        master = self._root / f"{architecture}-{variant}"
        if not master.exists():
            self._write_folder(master, architecture, variant)
        return Path(shutil.copytree(master, folder))

    @staticmethod
    def original_tensors(models: Mapping[Part, nn.Module], layout: OriginalLayout) -> dict[str, torch.Tensor]:
        """Any models' tensors as a single file holds them."""
        return original_tensors(models, layout)

    def _write_folder(self, folder: Path, architecture: Architecture, variant: str | None) -> None:
        for part, model in self.models(architecture).items():
            model.save_pretrained(folder / part, variant=variant)  # type: ignore[operator]
        vocabulary, merges = clip_vocabulary()
        for part in ("tokenizer", "tokenizer_2")[: len(self.layouts[architecture].text_encoders)]:
            (folder / part).mkdir()
            (folder / part / "vocab.json").write_text(json.dumps(vocabulary))
            (folder / part / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
        (folder / "scheduler").mkdir()
        (folder / "scheduler/scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon"}))
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))

    def load(self, path: Path) -> Components:
        """Load what `single_file` or `folder` wrote, as the project does."""
        return load_components(find_model_files(str(path), ""), device=torch.device("cpu"), dtype=torch.float32)

    def draw(self, base: Components) -> tuple[torch.Tensor, torch.Tensor]:
        """What the U-Net and the last text encoder say to fixed inputs: all of the base's trained weights take part."""
        generator = torch.Generator().manual_seed(7)
        latents, hidden = (
            torch.randn(shape, generator=generator)
            for shape in ((1, 4, 8, 8), (1, 77, base.unet.config.cross_attention_dim))
        )
        more = {"text_embeds": torch.ones(1, 64), "time_ids": torch.zeros(1, 6)}
        with torch.no_grad():
            drawn = base.unet(latents, 10, hidden, added_cond_kwargs=more).sample
            said = base.text_encoders[-1](torch.tensor([[49406, 5, 49407]])).last_hidden_state
        return drawn, said


def _small_unet(layout: OriginalLayout) -> dict[str, Any]:
    wide = [32, 64, 64][: len(layout.up_attention)]
    xl = layout.architecture == "sdxl"
    small = {
        "block_out_channels": wide,
        "layers_per_block": layout.layers,
        "cross_attention_dim": 128 if xl else 64,
        "sample_size": 8,
        "down_block_types": [
            "CrossAttnDownBlock2D" if there else "DownBlock2D" for there in reversed(layout.up_attention)
        ],
        "up_block_types": ["CrossAttnUpBlock2D" if there else "UpBlock2D" for there in layout.up_attention],
        "attention_head_dim": 8 if layout.architecture == "sd1" else [max(1, width // 64) for width in wide],
    }
    if xl:
        small |= {"transformer_layers_per_block": [1, 1, 2], "projection_class_embeddings_input_dim": 6 * 256 + 64}
    return small


def original_tensors(models: Mapping[Part, nn.Module], layout: OriginalLayout) -> dict[str, torch.Tensor]:
    """The models' tensors as a single file holds them: old files keep the VAE's attention as 1×1 convolutions."""
    tensors: dict[str, torch.Tensor] = {}
    thirds: dict[str, list[torch.Tensor]] = {}
    for part, model in models.items():
        for key, value in model.state_dict().items():
            place = layout.place(part, key)
            if part == "vae" and ".to_" in key and key.endswith("weight"):
                value = value[:, :, None, None]
            if place.third is not None:
                thirds.setdefault(place.key, [value] * 3)[place.third] = value
            else:
                tensors[place.key] = value.T if place.transposed else value
    tensors |= {key: torch.cat(parts) for key, parts in thirds.items()}
    return {key: value.contiguous() for key, value in tensors.items()}


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Tiny models on demand."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Mounts disks that go with the test."""
    mounted: list[Path] = []

    def mount(size_kib: int) -> Path:
        disk = tmp_path / f"disk{len(mounted)}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", disk]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("a disk can only be mounted by root, with the right to")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server for all commands that need none of their own: starting one takes longer than most of them."""
    with prefect_server(tmp_path_factory.mktemp("server")) as address:
        yield address
