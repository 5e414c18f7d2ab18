"""The character drawn anew on the base, and which pictures of it the final LoRA is trained on."""

from lora_core.captions.caption import load_captions
from lora_core.dataset import load_manifest, save_manifest
from lora_core.errors import GateError
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef
from tasks.caching import step
from tasks.groups import Drawing, Judge, Scenes
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper, idle_walk


@step("redraw")
def redraw(
    base: CheckpointRef, lora: LoraRef, verdict: ReportRef, wanted: Scenes, drawing: Drawing, at: RunContext
) -> ReportRef:
    """Every scene once, with the epoch and weight that the verdict chose."""
    from lora_core.judging.verdict import read_verdict
    from lora_core.redraw.choose import figure_of, screenshots_of
    from lora_core.redraw.draw import begins_of, draw_scenes
    from lora_core.redraw.scenes import scenes
    from lora_core.sampling.sampler import SamplerConfig
    from lora_core.sampling.samples import Column

    store = at.open_store("redraw")
    known, options = load_captions(store, wanted.captions), wanted.redraw
    figure = figure_of(known, wanted.rules, options)
    choice = read_verdict(store, verdict).choice
    say(f"redraw: epoch {choice.epoch} at weight {choice.weight:g} draws {', '.join(figure.traits)}")
    config = SamplerConfig(drawing.clip_skip, drawing.process, at.device, at.speed)
    planned = scenes(figure, wanted.plan, options, screenshots_of(known, wanted.rules))
    column, begins = Column(choice.epoch, choice.weight), begins_of(store, known.manifest, options.denoise)
    with progress("redraw", "step") as listen:
        return draw_scenes(store, base, lora, column, planned, drawing.options, config, listen, begins)


@step("select")
def select_redrawn(drawn: ReportRef, wanted: Scenes, by: Judge, left_out: tuple[str, ...], at: RunContext) -> ReportRef:
    """The pictures that show every trait and nothing of the look; the others with their reasons."""
    from lora_core.redraw.choose import Held, choose, figure_of
    from lora_core.report.redrawn import with_sheet

    store = at.open_store("select")
    known = load_captions(store, wanted.captions)
    held = Held(figure_of(known, wanted.rules, wanted.redraw), wanted.plan, wanted.redraw, by.judging, left_out)
    classifier = store.tree(by.classifier.sha256) if by.classifier else None
    with progress("read redrawn", "picture") as listen:
        selected = choose(store, drawn, known.manifest, store.tree(by.tagger.sha256), held, listen, classifier)
    return with_sheet(store, selected)


@helper(peek="run")
def take_chosen(selected: ReportRef, at: RunContext) -> DatasetRef:
    """What was chosen, as a set that gets captions."""
    from lora_core.redraw.choose import chosen_set, read_selection

    store = at.open_store()
    return save_manifest(store, chosen_set(read_selection(store, selected)))


@helper(peek="run")
def mix_in(redrawn: DatasetRef, screenshots: DatasetRef, share: float, word: str, at: RunContext) -> DatasetRef:
    """The final training set: some screenshots beside the redrawn pictures, under the look's own word."""
    from lora_core.redraw.choose import with_screenshots

    store = at.open_store()
    sets = load_manifest(store, redrawn), load_manifest(store, screenshots)
    return save_manifest(store, with_screenshots(*sets, share, word))


def refuse_unknown(selected: ReportRef, names: tuple[str, ...], at: RunContext) -> None:
    """Refuse pictures that were not drawn, before an answer that names them is remembered.

    Raises:
        GateError: naming the first.
    """
    from lora_core.redraw.choose import read_selection

    known = [one.name for one in read_selection(at.open_store(), selected).pictures]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise GateError(f"redraw: there is no picture {unknown}; they go from {known[0]} to {known[-1]}")


def best_number(verdicts: tuple[ReportRef, ...], at: RunContext) -> int:
    """Which of the LoRAs before and after redrawing is published; the last where that is not known yet."""
    from lora_core.judging.verdict import read_verdict
    from lora_core.redraw.compare import best_of, comparison

    if any(verdict.is_pending for verdict in verdicts):
        return len(verdicts) - 1
    store = at.open_store()
    found = [read_verdict(store, verdict) for verdict in verdicts]
    if len(found) > 1 and not idle_walk():
        result = comparison(found)
        for line in (*result.details, result.story):
            say(line)
    return best_of(found)
