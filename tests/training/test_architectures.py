"""SD1, SD2 and SDXL: trained from a file and from a folder, told in the header, loaded by diffusers."""

import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open

from lora_core.dataset import Entry, Manifest
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files
from lora_core.lora.attach import attach
from lora_core.lora.file import LoraFile, read_lora
from lora_core.progress import Progress, silent
from lora_core.recipe import Process, Training
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.training.batch import draw_batch
from lora_core.training.memory import need
from lora_core.training.run import train
from lora_core.training.samples import Sample, TrainingSet, pictures_of

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/metadata_keys.json").read_bytes())["stage3_reg_bucket"]
ARCHITECTURES = ("sd1", "sd2", "sdxl")


OPTIONS = Training(
    resolution=64, epochs=1, rank=4, alpha=2, batch=2, unet_lr=1e-2, text_encoder_lr=1e-2, save_precision="fp32"
)


@pytest.fixture
def options() -> Training:
    return OPTIONS


class Trainer:
    """Trains the drawn sets on a base."""

    def __init__(self, store: Store, sets: tuple[TrainingSet, ...]) -> None:
        self.store, self.sets = store, sets

    def __call__(
        self,
        base: Path,
        options: Training,
        *,
        process: Process | None = None,
        clip_skip: int = 1,
        progress: Progress = silent,
        key: str = "",
    ) -> Path:
        ref = train(
            self.store,
            CheckpointRef(sha256=self.store.put_tree(find_model_files(str(base), ""))),
            self.sets,
            options,
            name="hero",
            clip_skip=clip_skip,
            device="cpu",
            key=hashlib.sha256((key or str(base)).encode()).hexdigest(),
            trigger="hc_hero",
            progress=progress,
            process=process,
        )
        return self.store.tree(ref.sha256)["hero.safetensors"]


@pytest.fixture
def trainer(store: Store, drawn_sets: tuple[TrainingSet, ...]) -> Trainer:
    return Trainer(store, drawn_sets[:1])


OfFile = Callable[[str, Process], Path]


@pytest.fixture(scope="module")
def of_file(workshop: Any, new_sets: Any, tmp_path_factory: pytest.TempPathFactory) -> OfFile:
    """The LoRA of an architecture's single file, trained when it is asked for first; nobody may change it."""
    folder = tmp_path_factory.mktemp("of_file")
    store = Store(folder / "store")
    trainer = Trainer(store, new_sets(store)[:1])

    @functools.cache
    def trained(architecture: str, process: Process) -> Path:
        base = folder / f"{architecture}.safetensors"
        if not base.exists():
            workshop.single_file(base, architecture)
        return trainer(base, OPTIONS, process=process, key=f"{architecture} {process}")

    return trained


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, str] = file.metadata()
        return found


def parts(lora: LoraFile) -> set[str]:
    return {name.split("_")[1] for name in lora.modules}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_file_and_a_folder_of_the_same_weights_train_to_the_same_lora(
    workshop: Any, trainer: Trainer, options: Training, of_file: OfFile, tmp_path: Path, architecture: str
) -> None:
    single = read_lora(of_file(architecture, Process()))
    folder_path = workshop.folder(tmp_path / "folder", architecture)
    if architecture != "sd1":  # as published: what reads for open_clip's text encoder pads with "!", id 0
        settings = json.dumps({"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77})
        place = "tokenizer_2" if architecture == "sdxl" else "tokenizer"
        (folder_path / place / "tokenizer_config.json").write_text(settings)
    folder = read_lora(trainer(folder_path, options))
    assert single.modules.keys() == folder.modules.keys()
    for name, module in single.modules.items():
        assert torch.equal(module.down, folder.modules[name].down)
        assert torch.equal(module.up, folder.modules[name].up)
    assert parts(single) == ({"te1", "te2", "unet"} if architecture == "sdxl" else {"te", "unet"})
    moved = {name for name, module in single.modules.items() if module.up.abs().max() > 0}
    still = single.modules.keys() - moved  # SDXL reads the first text encoder's last layer but one
    assert {name.rpartition("_layers_")[0] for name in still} <= {"lora_te1_text_model_encoder"}
    assert len(still) == (6 if architecture == "sdxl" else 0)


@pytest.mark.parametrize(
    ("architecture", "process", "wanted"),
    [
        ("sd1", Process(), ("sd_v1", "False", "stable-diffusion-v1/lora", "epsilon", "1", None)),
        (
            "sd1",
            Process(prediction="v_prediction"),
            ("sd_v1_v", "False", "stable-diffusion-v1/lora", "v", "1", None),
        ),
        ("sd2", Process(), ("sd_v2", "True", "stable-diffusion-v2-512/lora", "epsilon", "1", None)),
        (
            "sd2",
            Process(prediction="v_prediction"),
            ("sd_v2_v", "True", "stable-diffusion-v2-768-v/lora", "v", "1", None),
        ),
        ("sdxl", Process(), ("sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "epsilon", None, None)),
        (
            "sdxl",
            Process(prediction="v_prediction", zero_terminal_snr=True),
            ("sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "v", None, "True"),
        ),
    ],
    ids=str,
)
def test_the_header_tells_architecture_and_prediction_in_sd_scripts_words(
    of_file: OfFile, architecture: str, process: Process, wanted: tuple[str | None, ...]
) -> None:
    found = metadata(of_file(architecture, process))
    keys = (
        "ss_base_model_version",
        "ss_v2",
        "modelspec.architecture",
        "modelspec.prediction_type",
        "ss_clip_skip",
        "ss_zero_terminal_snr",
    )
    assert tuple(found.get(key) for key in keys) == wanted
    assert set(found) - set(GOLDEN) <= {"modelspec.trigger_phrase", "ss_optimizer_args"}


def test_the_prediction_changes_what_is_learned(of_file: OfFile) -> None:
    told = (
        Process(),
        Process(prediction="v_prediction"),
        Process(prediction="v_prediction", zero_terminal_snr=True),
    )
    loras = [read_lora(of_file("sdxl", process)) for process in told]
    name = next(iter(loras[0].modules))
    ups = [lora.modules[name].up for lora in loras]
    assert not any(torch.equal(ups[one], ups[other]) for one, other in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_diffusers_draws_with_the_file_what_we_draw_with_it(
    workshop: Any, of_file: OfFile, tmp_path: Path, caplog: pytest.LogCaptureFixture, architecture: str
) -> None:
    single = workshop.single_file(tmp_path / "m.safetensors", architecture)
    lora = shutil.copyfile(of_file(architecture, Process()), tmp_path / "hero.safetensors")
    base, ours = workshop.load(single), workshop.load(single)
    models = {"vae": base.vae, "unet": base.unet, "scheduler": DDIMScheduler()}
    models |= {"text_encoder": base.text_encoders[0], "tokenizer": base.tokenizers[0]}
    pipeline: Any
    if architecture == "sdxl":
        models |= {"text_encoder_2": base.text_encoders[1], "tokenizer_2": base.tokenizers[1]}
        pipeline = StableDiffusionXLPipeline(**models)
    else:
        models |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline(**models)
    plain = workshop.draw(base)
    pipeline.load_lora_weights(str(tmp_path), weight_name=lora.name)
    assert [record.message for record in caplog.records if "key" in record.message.lower()] == []
    attach(ours, Path(lora), 1.0)
    for bare, mine, theirs in zip(plain, workshop.draw(ours), workshop.draw(base), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
        assert (mine - bare).abs().max() > 1e-2


def test_an_sdxl_training_that_was_interrupted_ends_in_the_same_bytes(
    workshop: Any, trainer: Trainer, options: Training, tmp_path: Path
) -> None:
    base = workshop.single_file(tmp_path / "m.safetensors", "sdxl")
    saving = options.model_copy(update={"checkpoint_minutes": 1e-9})

    def stop(done: int, total: int, note: str = "") -> None:
        if done == 2 and note.startswith("loss "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(base, saving, progress=stop, key="interrupted")
    resumed = trainer(base, saving, key="interrupted")
    assert resumed.read_bytes() == trainer(base, saving, key="undisturbed").read_bytes()


def test_every_sample_carries_its_true_sizes() -> None:
    def entry(width: int, height: int) -> Entry:
        return Entry(name="a", source="a.png", image="0" * 64, width=width, height=height, caption=("a",))

    def sizes(width: int, height: int, resolution_px: int) -> list[int]:
        (picture,) = pictures_of([TrainingSet(Manifest(entries=(entry(width, height),)), 1, False, "", resolution_px)])
        latent = torch.zeros(4, picture.placement.bucket[1] // 8, picture.placement.bucket[0] // 8)
        (found,) = draw_batch([Sample(0, 0)], [picture], [latent], Training(), 0).sizes.tolist()
        return list(found)

    # original height and width, crop top and left, target height and width
    assert sizes(1024, 1024, 512) == [1024, 1024, 0, 0, 512, 512]
    assert sizes(384, 384, 384) == [384, 384, 0, 0, 384, 384]
    # 1000×600 is nearest in shape to 640×384, resized by 0.64 to 640×384: nothing is cropped
    assert sizes(1000, 600, 512) == [600, 1000, 0, 0, 384, 640]
    # 1000×800 goes to 576×448 by 0.576, to 576×461: 13 rows too many, 6 of them above
    assert sizes(1000, 800, 512) == [800, 1000, 6, 0, 448, 576]
    # 800×1000 likewise on its side
    assert sizes(800, 1000, 512) == [1000, 800, 0, 6, 576, 448]


def test_clip_skip_three_is_refused_for_sdxl(
    workshop: Any, trainer: Trainer, options: Training, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"base\.clip_skip = 3"):
        trainer(workshop.single_file(tmp_path / "m.safetensors", "sdxl"), options, clip_skip=3)


def test_the_memory_of_an_sdxl_training_counts_both_text_encoders_and_twice_the_maps(
    workshop: Any, options: Training, tmp_path: Path
) -> None:
    files = find_model_files(str(workshop.single_file(tmp_path / "m.safetensors", "sdxl")), "")
    both, unet = (
        need(files, options.model_copy(update={"text_encoder_lr": rate}), "cpu").bytes for rate in (1e-5, 0.0)
    )
    layer = 4 * (64 + 64) + 2 * (64 + 128)  # four projections of 64 by 64, two matrices of 64 by 128
    assert both - unet == 2 * 2 * layer * options.rank * 16  # two text encoders of two layers; value, gradient, moments
    few, many = (need(files, options.model_copy(update={"batch": batch}), "cpu").bytes for batch in (1, 2))
    assert many - few == 650 * (64 // 8) ** 2 * 32 * 4  # 650 maps of 32 channels in fp32


def test_the_memory_of_a_training_follows_optimizer_average_and_checkpointing(
    workshop: Any, options: Training, tmp_path: Path
) -> None:
    files = find_model_files(str(workshop.single_file(tmp_path / "m.safetensors", "sd1")), "")

    def needed(**more: object) -> int:
        return need(files, options.model_copy(update=more), "cpu").bytes

    trained = (needed() - needed(optimizer="lion")) // 4  # AdamW keeps two numbers of each, Lion one
    assert trained > 0
    assert needed(optimizer="prodigy") - needed() == 8 * trained
    assert needed(ema_decay=0.999) - needed() == 4 * trained
    assert needed() - needed(gradient_checkpointing=True) == options.batch * (360 - 100) * (64 // 8) ** 2 * 32 * 4
