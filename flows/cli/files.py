"""`headcanon merge`, `sample` and `inspect`: single model files."""

from json import dumps
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import echo

Base = Annotated[str, typer.Argument(help="A .safetensors file, a diffusers folder, or a hub repository.")]
Revision = Annotated[str, typer.Option(help="For a hub repository: the commit.")]
Scheduler = Literal["auto", "euler_a", "euler", "dpmpp_2m_karras", "dpmpp_2m", "ddim"]


def merge(
    base: Base,
    loras: Annotated[list[Path], typer.Argument(help="The LoRAs' .safetensors files.")],
    out: Annotated[Path, typer.Argument(help="Where the merged model goes; it must not exist yet.")],
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight: one for all, or one for each LoRA in order. 1 if left out.")
    ] = None,
    revision: Revision = "",
) -> None:
    """Merge LoRAs into a base model. The result has the base's layout (file or folder) and precision.

    Examples:

      headcanon merge sd15.safetensors style.safetensors merged.safetensors

      headcanon merge sd15.safetensors a.safetensors b.safetensors merged.safetensors --weight 0.8 --weight 0.5
    """
    from lora_core.hub import find_model_files
    from lora_core.hub.find import companions, without_variant
    from lora_core.lora.combine import weighted
    from lora_core.lora.merge import merge_file
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file, check_out_folder
    from tasks.runtime import progress

    terms = weighted(loras, weight or [1.0])
    if Path(base).is_file():
        check_out_file(out, ".safetensors")
    else:
        check_out_folder(out)
    files = find_model_files(base, revision)
    check_models((base, *map(str, loras), str(out)), (*files.values(), *loras))
    with progress("merge", "tensor") as listen:
        merge_file(without_variant({**files, **companions(base, files)}), terms, out, listen)
    echo(f"Wrote {out}")


def sample(
    base: Base,
    prompt: Annotated[list[str], typer.Option(help="What to draw. May be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("samples"),
    lora: Annotated[Path | None, typer.Option(help="A LoRA's .safetensors file.")] = None,
    weight: Annotated[float, typer.Option(help="Weight of the LoRA.")] = 1.0,
    seed: Annotated[
        list[int] | None, typer.Option(help="May be repeated; the same seed gives the same picture.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What not to draw.")] = "",
    steps: Annotated[int, typer.Option(min=1, max=200, help="Denoising steps.")] = 25,
    cfg: Annotated[float, typer.Option(min=1, max=30, help="CFG scale.")] = 7.0,
    width: Annotated[int, typer.Option(help="Pixels, a multiple of 8. 0: the base's own, 832 for SDXL, else 512.")] = 0,
    height: Annotated[int, typer.Option(help="The same. 0: 1216 for SDXL, else 768.")] = 0,
    sampler: Annotated[
        Scheduler,
        typer.Option(help="auto: Euler with CFG rescale where the base has zero terminal SNR, else DPM++ 2M Karras."),
    ] = "auto",
    clip_skip: Annotated[int, typer.Option(min=1, max=12)] = 1,
    prediction: Annotated[
        Literal["auto", "epsilon", "v_prediction"],
        typer.Option(help="What the base predicts, if not stated."),
    ] = "auto",
    zero_terminal_snr: Annotated[
        bool, typer.Option("--zero-terminal-snr", help="The base was trained with it, but does not state it.")
    ] = False,
    vae: Annotated[str, typer.Option(help="A VAE's .safetensors file, in place of the base's own.")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    revision: Revision = "",
) -> None:
    """Draw pictures, with a LoRA or without.

    The files carry the prompt and its settings as A1111 writes them (PNG Info reads them).

    Example: headcanon sample sd15.safetensors --lora out/aiko/aiko.safetensors --weight 0.8
    --prompt "hcaiko, 1girl, smile, outdoors" --seed 1 --seed 2 --out pictures
    """
    from pydantic import ValidationError

    from lora_core.bases.fit import drawn_px
    from lora_core.bases.lineage import find_lineage
    from lora_core.errors import RecipeError
    from lora_core.hub import find_model_files
    from lora_core.lora.metadata import check_models
    from lora_core.recipe import Process, Sampling
    from lora_core.recipe_file import explain
    from lora_core.sampling.epochs import sample_to_folder
    from lora_core.store.outputs import check_out_folder
    from tasks.runtime import progress

    check_out_folder(out)
    drawn: dict[str, object] = {
        "prompts": tuple(prompt), "negative": negative, "seeds": tuple(seed or (1,)), "steps": steps, "cfg": cfg,
        "scheduler": sampler, "weights": (weight,), **{k: v for k, v in (("width", width), ("height", height)) if v},
    }  # fmt: skip
    try:
        options = Sampling.model_validate(drawn)
    except ValidationError as error:
        raise RecipeError(f"sample: {explain(error, Sampling)}") from None
    files, loras = find_model_files(base, revision, vae), [lora] if lora else []
    check_models((base, *map(str, loras)), (*files.values(), *loras), options.prompts)
    process = Process(prediction=prediction, zero_terminal_snr=zero_terminal_snr)
    own = dict(zip(("width", "height"), drawn_px(find_lineage(files, base, process=process, deep=False)), strict=True))
    options = options.model_copy(update={side: px for side, px in own.items() if side not in drawn})
    with progress("sample", "step") as listen:
        paths = sample_to_folder(
            files, lora, options, out, clip_skip=clip_skip, device=device, progress=listen, process=process
        )
    for path in paths:
        echo(path)


def inspect(
    file: Annotated[Path, typer.Argument(help="A .safetensors file, LoRA or checkpoint, or a diffusers folder.")],
    json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Describe a LoRA or a checkpoint: architecture, rank and alpha or models and their sizes, metadata, tags.

    Example: headcanon inspect out/momo/momo.safetensors
    """
    from lora_core.lora.inspect import inspect_file

    found = inspect_file(file)
    if found.kind == "checkpoint":
        found = found.model_copy(update=_as_base(file))
    echo(dumps(found.model_dump(mode="json"), indent=2) if json else found)


def _as_base(model: Path) -> dict[str, str]:
    """What a checkpoint predicts, and why it cannot be trained on or drawn with, as the commands that refuse it say."""
    from lora_core.bases.lineage import prediction_of
    from lora_core.diffusion.read import read_source
    from lora_core.diffusion.source import refuse_without_vae
    from lora_core.errors import CheckpointError
    from lora_core.hub import find_model_files

    found: dict[str, str] = {}
    try:
        source = read_source(find_model_files(str(model), ""))
        found["predicts"] = prediction_of(source)
        refuse_without_vae(source)
    except CheckpointError as error:
        found["unusable"] = str(error)
    return found
