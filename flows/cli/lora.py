"""`headcanon lora add|subtract|resize|extract|convert`: LoRA files into LoRA files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import echo
from flows.cli.commands import Commands

app = Commands(
    help="LoRA files: add, subtract, resize, extract, convert. Nothing is overwritten.", no_args_is_help=True
)

Out = Annotated[Path, typer.Argument(help="The .safetensors file to write; it must not exist yet.")]
Rank = Annotated[int, typer.Option(min=0, help="At most this rank (network_dim) in every module; 0 for no limit.")]
Energy = Annotated[
    float,
    typer.Option(
        min=0, max=1,
        help="Of every module keep as few ranks as hold this share of its squared singular values, such as 0.95; "
        "0 for all. (0.81 is what sd-scripts calls sv_fro 0.9.)",
    ),
]  # fmt: skip
Precision = Annotated[
    Literal["auto", "fp16", "bf16", "fp32"],
    typer.Option(help="Of the file. auto: as the sources; fp32 where they differ, fp16 for extract."),
]


@app.command("add")
def add(
    loras: Annotated[list[Path], typer.Argument(help="LoRAs of one architecture; two or more.")],
    out: Out,
    weight: Annotated[
        list[float] | None, typer.Option(help="Weight: one for all, or one for each LoRA in order. 1 if left out.")
    ] = None,
    rank: Rank = 0,
    energy: Energy = 0.0,
    precision: Precision = "auto",
) -> None:
    """Add several LoRAs into one. Without --rank or --energy the sum is exact and its rank the sum of the ranks.

    Examples:

      headcanon lora add aiko.safetensors lineart.safetensors both.safetensors

      headcanon lora add a.safetensors b.safetensors ab.safetensors --weight 1 --weight 0.5 --rank 32
    """
    from lora_core.lora.algebra import Size
    from lora_core.lora.combine import add as add_loras
    from lora_core.lora.combine import weighted
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file
    from tasks.runtime import progress

    terms = weighted(loras, weight or [1.0])
    check_out_file(out, ".safetensors")
    check_models(map(str, (*loras, out)), loras)
    with progress("lora add", "module") as listen:
        made = add_loras(terms, out, Size(rank, energy), precision, listen)
    echo(f"Wrote {out}: {made}")


@app.command("subtract")
def subtract(
    lora: Annotated[Path, typer.Argument(help="The LoRA to keep, such as look + character.")],
    part: Annotated[Path, typer.Argument(help="The LoRA to take out of it, such as the look alone.")],
    out: Out,
    weight: Annotated[float, typer.Option(help="How much of PART is taken out.")] = 1.0,
    rank: Rank = 0,
    energy: Energy = 0.0,
    precision: Precision = "auto",
) -> None:
    """Subtract one LoRA from another: what the first has learned and the second has not.

    Without --rank or --energy the difference is exact and its rank the sum of the ranks.

    Examples:

      headcanon lora subtract look-and-aiko.safetensors look.safetensors aiko.safetensors --rank 32

      headcanon lora subtract b.safetensors a.safetensors difference.safetensors
    """
    from lora_core.lora.algebra import Size
    from lora_core.lora.combine import Term
    from lora_core.lora.combine import subtract as subtract_lora
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file
    from tasks.runtime import progress

    check_out_file(out, ".safetensors")
    check_models(map(str, (lora, part, out)), (lora, part))
    with progress("lora subtract", "module") as listen:
        made = subtract_lora(Term(lora), Term(part, weight), out, Size(rank, energy), precision, listen)
    echo(f"Wrote {out}: {made}")


@app.command("resize")
def resize(
    lora: Annotated[Path, typer.Argument(help="The LoRA's .safetensors file.")],
    out: Out,
    rank: Rank = 0,
    energy: Energy = 0.0,
    precision: Precision = "auto",
) -> None:
    """Reduce the rank of a LoRA, as near to the original as possible. Give --rank, --energy or both.

    alpha / rank stays as it is, so the weight to use stays too. Modules that are small enough are not touched. A LoHa
    or a LoKr becomes a plain LoRA.

    Examples:

      headcanon lora resize aiko.safetensors aiko-16.safetensors --rank 16

      headcanon lora resize aiko.safetensors aiko-small.safetensors --energy 0.95 --rank 64
    """
    from lora_core.lora.algebra import Size
    from lora_core.lora.combine import Term
    from lora_core.lora.combine import resize as resize_lora
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file
    from tasks.runtime import progress

    check_out_file(out, ".safetensors")
    check_models(map(str, (lora, out)), (lora,))
    with progress("lora resize", "module") as listen:
        made = resize_lora(Term(lora), out, Size(rank, energy), precision, listen)
    echo(f"Wrote {out}: {made}")


@app.command("extract")
def extract(
    base: Annotated[str, typer.Argument(help="The model before: a .safetensors file or a diffusers folder.")],
    tuned: Annotated[str, typer.Argument(help="The model after, of the same architecture, in either layout.")],
    out: Out,
    rank: Annotated[int, typer.Option(min=1, help="Rank (network_dim) of linear layers and 1×1 convolutions.")] = 64,
    conv_rank: Annotated[
        int, typer.Option(min=0, help="Rank of 3×3 convolutions (conv_dim, LoRA-C3Lier); 0 leaves them out.")
    ] = 0,
    energy: Energy = 0.0,
    precision: Precision = "auto",
    revision: Annotated[str, typer.Option(help="For a hub repository: the commit.")] = "",
) -> None:
    """Extract the difference of two models as a LoRA: on BASE it draws what TUNED draws, as near as the rank allows.

    Examples:

      headcanon lora extract sd15.safetensors my-style.safetensors style.safetensors --rank 64

      headcanon lora extract sd15.safetensors my-style.safetensors style.safetensors --rank 32 --conv-rank 16
    """
    from lora_core.hub import find_model_files
    from lora_core.lora.algebra import Size
    from lora_core.lora.checkpoint import Extraction
    from lora_core.lora.checkpoint import extract as extract_lora
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file
    from tasks.runtime import progress

    check_out_file(out, ".safetensors")
    files = find_model_files(base, revision), find_model_files(tuned, revision)
    check_models((base, tuned, str(out)), (path for each in files for path in each.values()))
    with progress("lora extract", "weight") as listen:
        made = extract_lora(*files, out, Extraction(Size(rank, energy), conv_rank), precision, listen)
    echo(f"Wrote {out}: {made}")


@app.command("convert")
def convert(
    lora: Annotated[Path, typer.Argument(help="The LoRA's .safetensors file, in either naming.")],
    out: Out,
    to: Annotated[
        Literal["kohya", "diffusers"],
        typer.Option(help="kohya: as sd-scripts writes it, for web UIs. diffusers: for diffusers (0.35 on) and peft."),
    ],
) -> None:
    """Convert a LoRA to the other naming; its numbers stay the same to the bit.

    Examples:

      headcanon lora convert aiko.safetensors pytorch_lora_weights.safetensors --to diffusers

      headcanon lora convert pytorch_lora_weights.safetensors aiko.safetensors --to kohya
    """
    from lora_core.lora.convert import convert as convert_lora
    from lora_core.lora.metadata import check_models
    from lora_core.store.outputs import check_out_file
    from tasks.runtime import progress

    check_out_file(out, ".safetensors")
    check_models(map(str, (lora, out)), (lora,))
    with progress("lora convert", "module") as listen:
        count = convert_lora(lora, out, to, listen)
    echo(f"Wrote {out}: {count} modules")
