"""Pages in Markdown: the model card beside a published LoRA, and a run at a glance for Prefect's UI."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from pathlib import PurePath

from PIL import Image

from lora_core.judging.metrics import Metric
from lora_core.judging.verdict import JudgedEpoch, Verdict
from lora_core.report.data import Drawn, ReportData
from lora_core.sampling.grid import Cell, contact_grid
from lora_core.sampling.samples import NO_LORA, Column, Samples
from lora_core.store import Store

_NO_LORA = "none"
_WITH_STYLE = (
    "A style LoRA learned the look of the 3D creator from another character and was merged into the base model; "
    "this LoRA was trained on the merged model, so it had only the character left to learn. It is meant for the "
    "original base model and its relatives, never for the merged one."
)
_WITH_WORD = (
    "The look of the 3D creator got a word of its own, {word}, whose vectors alone were learned from other pictures; "
    "this LoRA was trained on the base model with that word in its captions, so it had only the character left to "
    "learn."
)
_SUBTRACTED = (
    "Two LoRAs were trained on the base model: one of the look of the 3D creator, from another character, and one of "
    "that look and this character. This is the second minus the first, so what is left is the character."
)
_WITHOUT_STYLE = (
    "This LoRA was trained straight on the base model: no style LoRA took the look of the 3D creator first."
)


def user_metadata(data: ReportData, architecture: str) -> dict[str, str | float]:
    """A1111's and Forge's `NAME.json` beside `NAME.safetensors`, with the keys that the web UIs read.

    Args:
        data: The run.
        architecture: "sd1", "sd2" or "sdxl".
    """
    choice, without = data.verdict.choice, " without their look" if data.styled else ""
    worn = f" Outfits, behind the trigger: {', '.join(one.words for one in data.outfits)}." if data.outfits else ""
    return {
        "description": f"{data.name}, learned from 3D-creator screenshots{without}. Epoch {choice.epoch}.{worn}",
        "sd version": {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}[architecture],
        "activation text": data.trigger,
        "preferred weight": choice.weight,
        "notes": choice.reason,
    }


def lora_call(file: str, weight: float) -> str:
    """What calls the LoRA file in a web UI's prompt."""
    return f"<lora:{PurePath(file).stem}:{weight:g}>"


def choose_preview(samples: Sequence[Drawn], epoch: str, weight: float) -> bytes:
    """The picture that stands for the LoRA: the chosen epoch's first one at the chosen weight.

    Raises:
        ValueError: the epoch has no picture.
    """
    for drawn in samples:
        if (drawn.epoch, drawn.weight) == (epoch, weight):
            return drawn.picture
    raise ValueError(f"epoch {epoch} at weight {weight:g} has no picture")


def sample_prompts(data: ReportData) -> str:
    """The prompts of the samples with the LoRA called, one a line, to be pasted into a web UI's "from file" script."""
    choice = data.verdict.choice
    prompts = _whole(data, (drawn.prompt for drawn in data.samples if drawn.epoch == choice.epoch))
    return "".join(f"{prompt}, {lora_call(data.file, choice.weight)}\n" for prompt in prompts)


def _whole(data: ReportData, prompts: Iterable[str]) -> tuple[str, ...]:
    """Prompts as they were drawn, with the base's quality words around them, each once."""
    return tuple(data.template.replace("{prompt}", prompt) for prompt in dict.fromkeys(prompts))


def model_card(data: ReportData, *, base: str, licence: str) -> str:
    """The README.md of a published folder.

    Args:
        data: The run.
        base: The base model's name as the recipe has it, without local folders.
        licence: The recipe's words; empty: not stated.
    """
    choice, columns = data.verdict.choice, data.verdict.columns
    call = f"{lora_call(data.file, choice.weight)} {data.trigger}"
    prompts = _whole(data, (drawn.prompt for drawn in data.samples if drawn.epoch != _NO_LORA))
    lines = [
        *_front_matter(data, base, licence),
        f"# {_plain(data.name)}",
        "",
        "A character LoRA for Stable Diffusion, learned from screenshots of a 3D character creator"
        + (" in a way that leaves the 3D look behind." if data.styled else "."),
        "",
        f"![{_plain(data.name)}]({_address(PurePath(data.file).with_suffix('.png').name)})",
        "",
        "## Use",
        "",
        f"Put `{data.file}` into `models/Lora` (A1111, Forge) or `models/loras` (ComfyUI) and prompt:",
        "",
        *_block([call]),
        "",
        "| | |",
        "|---|---|",
        f"| Trigger | `{data.trigger}` |",
        *(
            f"| {_plain(', '.join(one.tags)) or 'Outfit'} ({one.pictures} pictures) | `{one.words}` |"
            for one in data.outfits
        ),
        f"| Weight | {choice.weight:g} |",
        f"| Base model | {_plain(base)} |",
        f"| Licence | {_plain(licence) or 'not stated'} |",
        "",
        "Prompts that the samples were drawn with:",
        "",
        *_block(prompts),
        "",
        "## How it was made",
        "",
        _WITH_WORD.format(word=data.look_word)
        if data.look_word
        else _SUBTRACTED
        if data.subtracted
        else _WITH_STYLE
        if data.styled
        else _WITHOUT_STYLE,
        "",
        "## Metrics",
        "",
        _plain(choice.reason),
        "",
        "Measured on the samples, with 95 % bootstrap intervals over prompts and seeds.",
        "",
        *(_explained(metric, data.verdict.measured.measured_by.get(metric.key, ())) for metric in columns),
        "",
        f"| Epoch | Weight | {' | '.join(metric.title for metric in columns)} | |",
        "|---|---|" + "---|" * len(columns) + "---|",
        *(_row(row, columns) for row in data.verdict.rows if row.metrics.weight == choice.weight),
        "",
    ]
    return "\n".join(lines)


def _front_matter(data: ReportData, base: str, licence: str) -> list[str]:
    """What the hub reads: YAML, whose strings may be JSON's."""
    named = {"license": "other", "license_name": licence} if licence else {}
    if re.fullmatch(r"[a-z0-9][a-z0-9.-]*", licence):
        named = {"license": licence}
    facts = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "stable-diffusion", "text-to-image"],
        "instance_prompt": data.trigger,
        **({"base_model": base} if re.fullmatch(r"[\w.-]+/[\w.-]+", base) else {}),
        **named,
    }
    return ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items()), "---", ""]


def _explained(metric: Metric, measured_by: Sequence[str]) -> str:
    by = f" Measured by {', '.join(measured_by)}." if measured_by else ""
    return f"- **{_plain(metric.title)}:** {_plain(metric.explanation + by)}"


def _row(row: JudgedEpoch, columns: Sequence[Metric]) -> str:
    cells = (row.metrics.epoch, f"{row.metrics.weight:g}", *(each.text(row.metrics.score(each)) for each in columns))
    return f"| {' | '.join(cells)} | {'this one' if row.ruling.chosen else ''} |"


def _block(lines: Sequence[str] | dict[str, None]) -> list[str]:
    return ["```text", *(line.replace("```", "'''") for line in lines), "```"]


def _plain(text: str) -> str:
    """Text that Markdown leaves alone and that brings no HTML."""
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")


def _address(file: str) -> str:
    return f"<{file}>" if " " in file else file


_CELL_PX = 192
_MOST_ROWS = 6
_QUALITY = 80


def markdown(store: Store, verdict: Verdict, samples: Samples, name: str, folder: str, pushed: str = "") -> str:
    """The choice, a contact sheet of it beside the base without the LoRA, and where everything is.

    Args:
        store: where the pictures are.
        verdict: what was measured and chosen.
        samples: what was drawn.
        name: of the LoRA.
        folder: where it was published.
        pushed: the hub's address of the commit; empty: none.
    """
    choice = verdict.choice
    sheet = base64.b64encode(_sheet(store, samples, Column(choice.epoch, choice.weight))).decode()
    lines = [
        f"## {escape(name)}: epoch {choice.epoch} at weight {choice.weight:g}",
        escape(choice.reason),
        *(["**Look before you use it:** the metrics alone don't settle this choice."] if choice.flagged else []),
        f'<img alt="without the LoRA and with it" width="100%" src="data:image/jpeg;base64,{sheet}">',
        f"Report: `{folder}/report.html`",
        *([f"Published: {pushed}"] if pushed else []),
    ]
    return "\n\n".join(lines)


def table(verdict: Verdict) -> list[dict[str, str]]:
    """A row for every epoch × weight."""
    return [
        {
            "epoch": one.epoch,
            "weight": f"{one.weight:g}",
            **{metric.label: metric.text(one.score(metric)) for metric in verdict.columns},
            "why": ruling.reason,
        }
        for one, ruling in verdict.rows
    ]


def _sheet(store: Store, samples: Samples, chosen: Column) -> bytes:
    """JPEG: a row for each prompt and seed, at most six; without the LoRA, and with it."""
    columns = (Column(NO_LORA), chosen)
    places = samples.seeds_by_prompt[:_MOST_ROWS]
    cells, rows = [], {}
    for sample in samples.samples:
        column, place = Column(sample.epoch, sample.weight), (sample.prompt_index, sample.seed)
        if column in columns and place in places:
            picture = Image.open(BytesIO(store.get_bytes(sample.image))).convert("RGB")
            picture.thumbnail((_CELL_PX, _CELL_PX), Image.Resampling.LANCZOS)
            cells.append(Cell(row=places.index(place), column=columns.index(column), picture=picture))
            rows[place] = (sample.prompt, f"seed {sample.seed}")
    sheet = contact_grid([rows[place] for place in places], [column.title for column in columns], cells, "")
    buffer = BytesIO()
    sheet.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
