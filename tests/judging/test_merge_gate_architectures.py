"""The merge check on every architecture, from single files and from folders: both text encoders take part."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_core.hub import find_model_files
from lora_core.judging.merged import LARGEST_MERGE_ERROR, merge_gate
from lora_core.lora.combine import Term
from lora_core.lora.file import write_lora
from lora_core.lora.inject import inject
from lora_core.lora.merge import merge_file
from lora_core.progress import silent
from lora_core.recipe import Network
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store

pytestmark = pytest.mark.slow


def put(store: Store, path: Path) -> CheckpointRef:
    return CheckpointRef(sha256=store.put_tree(find_model_files(str(path), "")))


class Trained(NamedTuple):
    """A base as one file, and a LoRA of it; nobody may change them."""

    base: Path
    lora: Path


@pytest.fixture(scope="module")
def trained(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    @functools.cache
    def of(architecture: str) -> Trained:
        folder = tmp_path_factory.mktemp(architecture)
        made = Trained(workshop.single_file(folder / "base.safetensors", architecture), folder / "style.safetensors")
        layers = inject(workshop.load(made.base), rank=2, alpha=2.0, unet=True, text_encoder=True, seed=1)
        generator = torch.Generator().manual_seed(2)
        for layer in layers:
            layer.up.data.normal_(0, 0.2, generator=generator)
        write_lora(made.lora, {layer.name: layer.in_file() for layer in layers}, dtype=torch.float32, metadata={})
        return made

    return of


def share(store: Store, base: Path, lora: Path, merged: Path) -> float:
    ref = LoraRef(sha256=store.put_tree({"style.safetensors": lora}))
    found = merge_gate(store, put(store, base), ref, put(store, merged), weight=1.0, clip_skip=1, device="cpu")
    assert found.figure is not None
    assert found.passed == (found.figure <= LARGEST_MERGE_ERROR)
    return found.figure


@pytest.mark.parametrize("kind", ["single", "folder"])
@pytest.mark.parametrize("architecture", ["sd1", "sd2", "sdxl"])
def test_a_right_merge_passes_and_an_unmerged_base_does_not(
    workshop: Any, trained: Callable[[str], Trained], store: Store, tmp_path: Path, architecture: str, kind: str
) -> None:
    base, lora = trained(architecture)
    if kind == "folder":
        base = workshop.folder(tmp_path / "base", architecture)  # of the same weights
    out = tmp_path / ("merged.safetensors" if kind == "single" else "merged")
    merge_file(find_model_files(str(base), ""), [Term(lora, 1.0)], out, silent)
    assert share(store, base, lora, out) < 1e-3
    assert share(store, base, lora, base) > 0.5


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_a_look_of_another_kind_as_the_trainer_writes_it_is_merged_and_passes(
    workshop: Any, store: Store, tmp_path: Path, kind: Any
) -> None:
    base = workshop.single_file(tmp_path / "base.safetensors", "sd1")
    lora, out = tmp_path / "style.safetensors", tmp_path / "merged.safetensors"
    network = Network(kind=kind, conv_rank=2)
    layers = inject(workshop.load(base), rank=2, alpha=2.0, unet=True, text_encoder=True, seed=1, network=network)
    generator = torch.Generator().manual_seed(2)
    for layer in layers:
        for key in {"lora_up.weight", "hada_w2_b", "lokr_w2", "lokr_w2_b"} & layer.matrices.keys():
            layer.matrices[key].data.normal_(0, 0.5, generator=generator)
    write_lora(lora, {layer.name: layer.in_file() for layer in layers}, dtype=torch.float32, metadata={})
    merge_file(find_model_files(str(base), ""), [Term(lora, 1.0)], out, silent)
    assert share(store, base, lora, out) < 1e-3
    assert share(store, base, lora, base) > 0.5


@pytest.mark.parametrize("part", ["lora_te1_", "lora_te2_", "lora_unet_"])
def test_a_merge_that_leaves_out_one_part_of_sdxl_is_noticed(
    trained: Callable[[str], Trained], store: Store, tmp_path: Path, part: str
) -> None:
    base, lora = trained("sdxl")
    some = shutil.copyfile(lora, tmp_path / "some.safetensors")
    save_file({key: tensor for key, tensor in load_file(lora).items() if not key.startswith(part)}, some)
    merge_file(find_model_files(str(base), ""), [Term(Path(some), 1.0)], tmp_path / "merged.safetensors", silent)
    whole, without = (share(store, base, file, tmp_path / "merged.safetensors") for file in (Path(some), lora))
    assert whole < 1e-3
    assert without > 10 * whole


def test_markers_of_the_process_outlive_a_merge(
    workshop: Any, trained: Callable[[str], Trained], tmp_path: Path
) -> None:
    plain, lora = trained("sdxl")
    base = tmp_path / "base.safetensors"
    save_file({**load_file(plain), "v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}, base)
    merge_file(find_model_files(str(base), ""), [Term(lora, 1.0)], tmp_path / "merged.safetensors", silent)
    merged = workshop.load(tmp_path / "merged.safetensors")
    assert (merged.prediction_type, merged.zero_terminal_snr) == ("v_prediction", True)
