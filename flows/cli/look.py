"""`headcanon look`: which words for the look a base knows, and which method suits it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli import echo

if TYPE_CHECKING:
    from flows.cli.scaffold import FittedBase
    from lora_core.diffusion.source import Source
    from lora_core.judging.look import Drawn, LookReport
    from lora_core.recipe import Sampling
    from lora_core.store import Store


def look(
    base: Annotated[str, typer.Argument(help="A .safetensors file, a diffusers folder, or owner/name@COMMIT.")],
    screenshots: Annotated[Path, typer.Option(help="Screenshots of any character from your 3D creator.")],
    tagger: Annotated[str, typer.Option(help="A folder with model.onnx and selected_tags.csv.")] = "models/wd-swinv2",
    preset: Annotated[str, typer.Option(metavar="NAME", help="The base's family, as for `headcanon new`.")] = "",
    word: Annotated[
        list[str] | None, typer.Option(help="A word to try instead of the usual ones. May be repeated.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=1, max=16, help="Pictures of each prompt at most: fewer of words that soon prove unknown."),
    ] = 4,
    classifier: Annotated[
        str, typer.Option(help="An auxiliary classifier's folder, asked where the tagger sees no look ([judging]).")
    ] = "",
    embedder: Annotated[str, typer.Option(help="An image encoder (ONNX), asked where both see none ([judging]).")] = "",
    out: Annotated[Path, typer.Option(help="Folder for look.png and look.json.")] = Path("look"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    store: Annotated[Path, typer.Option("--store", help="Folder of cached results.")] = Path(".headcanon"),
) -> None:
    """Draw the base with and without each word for the 3D look, and measure how far it moves towards the screenshots.

    A base that knows the look by name can be trained with captions that name it; one that does not has to be taught
    the look first. Says which, and why. Pictures are kept: the same command draws nothing twice.

    Example: headcanon look models/illustrious/Illustrious-XL-v0.1.safetensors --screenshots aiko/character
    """
    from flows.cli.fitting import fit
    from lora_core.captions.content import check, check_tagger, named
    from lora_core.diffusion.read import read_source
    from lora_core.hub import find_model_files, find_tagger_files
    from lora_core.images.collect import collect
    from lora_core.judging.look import LOOK_WORDS, Instruments, ask
    from lora_core.judging.onnx_models import find_classifier_files, find_embedder_files
    from lora_core.recipe import Judging, Preprocess
    from lora_core.refs import CheckpointRef
    from lora_core.sampling.sampler import SamplerConfig
    from lora_core.store import Store
    from tasks.runtime import progress
    from tasks.tag import prepared_and_tagged

    fitted, words = fit(base, preset), tuple(word or LOOK_WORDS)
    files, reader = find_model_files(fitted.model, fitted.revision), find_tagger_files(tagger, "")
    check_tagger(reader, files, tagger)
    kept = Store(store)
    kept.hold()
    pictures, seen = prepared_and_tagged(kept, collect(kept, screenshots), Preprocess(bad_pictures="leave_out"), reader)
    options = _drawing(fitted, read_source(files))
    check([(pictures, seen)], (named(base), options.template, *options.prompts, *words))
    echo(fitted.told)
    config = SamplerConfig(fitted.clip_skip, fitted.process, device)
    at = CheckpointRef(sha256=kept.put_tree(files, how="refer"))
    by = Instruments(
        reader,
        find_classifier_files(Path(classifier)) if classifier else None,
        Judging().classifier_label,
        find_embedder_files(Path(embedder)) if embedder else None,
    )
    report, drawn = ask(kept, at, (pictures, seen), (words,), (options, config), by, progress, seeds)
    _write(kept, out, report, drawn)
    _tell(report, out)


def _drawing(fitted: "FittedBase", source: "Source") -> "Sampling":
    """The base's own numbers, and the recipe's prompts without a trigger."""
    from lora_core.bases.fit import scaled
    from lora_core.judging.look import asking
    from lora_core.recipe import Sampling

    numbers = dict(fitted.preset.sections["sampling"])
    numbers |= {side: scaled(fitted.preset, source, numbers[side]) for side in ("width", "height")}
    return asking(Sampling.model_validate(numbers))


def _write(store: "Store", out: Path, report: "LookReport", drawn: "Drawn") -> None:
    """look.json, and a grid of the first seed's pictures."""
    from lora_core.images.png import png_bytes
    from lora_core.sampling.words import words_grid
    from lora_core.store.files import write_atomically

    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "look.png", png_bytes(words_grid(store, drawn)))
    write_atomically(out / "look.json", (report.model_dump_json(indent=2) + "\n").encode())


def _tell(report: "LookReport", out: Path) -> None:
    from rich.table import Table

    from tasks.terminal import Terminal

    console = Terminal()
    if report.moves:
        table = Table("word", "of the way", "95 % interval", "known", box=None, pad_edge=False, title_justify="left")
        for move in report.moves:
            share = move.share
            table.add_row(
                move.word, f"{share.mean:.0%}", f"{share.low:.0%} to {share.high:.0%}", "yes" if move.is_known else "no"
            )
        console.print(table)
        echo(f"Measured by {', '.join(report.measured_by)}: more in the screenshots than in the base's own pictures.")
    echo(f"Look at {out / 'look.png'}.")
    echo(f"Suits this base: {report.reason}.")
    echo(f'In the recipe: method = "{report.method}"; and use = true under [redraw], which draws the character anew.')
