"""Arm runs through the product's own flow; what is finished is found, what fails is told."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from demo.proof.arms import CROWD
from demo.proof.drawing import Drawing
from demo.proof.gates import Gate, gate, prompts, shown
from demo.proof.instruments import Instruments
from demo.proof.lanes import side_by_side
from demo.proof.measures import Reading
from demo.proof.person import answer_gate, has_answered
from demo.proof.probe import PROBE_FILE
from demo.proof.scope import ArmRun, Scope, expected_seconds
from demo.proof.tables import percent_of
from flows.artifacts import RunArtifacts
from flows.ending import run_by_command
from flows.graph import Peeked, make_lora, peek, style_tokens
from lora_core.dataset import Frozen, load_manifest
from lora_core.errors import HeadcanonError, UserError
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef
from lora_core.sampling.samples import NO_LORA, Samples, load_samples, samples_manifest
from lora_core.store import Store
from tasks.publish import tidy
from tasks.runtime import RunContext, console
from tasks.steps import Until

Say = Callable[[str], None]

_UNTIL: Final = "judge"


class Gates(Frozen):
    """What a style LoRA draws on the base, and what the merged model draws."""

    merged_model: CheckpointRef
    style: Gate
    merged: Gate

    @property
    def passed(self) -> bool:
        """Whether the merged model draws the look, which is all that stage 3 needs."""
        return self.merged.passed


@dataclass(frozen=True)
class Outcome:
    """What came of an arm run.

    Attributes:
        run: which one.
        samples: every picture without the LoRA and of each epoch.
        readings: picture digest → what tagger and probe see.
        screenshot: digest of one square screenshot of the character, to show beside the samples.
        gates: None for an arm that merges nothing.
        redrawn: whether the redrawn LoRA was the better one; None where nothing was redrawn.
        cached: whether it was finished before.
    """

    run: ArmRun
    samples: Samples
    readings: dict[str, Reading]
    screenshot: str
    gates: Gates | None
    redrawn: bool | None = None
    cached: bool = False


@dataclass(frozen=True)
class Failure:
    """An arm run that ended with an error."""

    run: ArmRun
    error: str


def run_all(runs: Sequence[ArmRun], scope: Scope, at: RunContext, say: Say, lanes: int) -> Iterator[Outcome | Failure]:
    """Every arm run, so many at once, with one line for each. An error ends its run alone."""
    pieces = [expected_seconds(run, scope) for run in runs]
    open_ = {name: seconds for each in pieces for name, seconds in each.items()}
    lanes = min(lanes, len({_shares(run) for run in runs}))  # more would have nothing to do
    many = f" in {lanes} lanes" if lanes > 1 else ""
    say(f"{len(runs)} arm runs{many}, about {_hours(sum(open_.values()) / lanes)} if nothing is finished yet")
    worked = expected = 0.0
    done = side_by_side(runs, _shares, functools.partial(_attempt, scope=scope, at=at), lanes)
    for number, (index, result, spent) in enumerate(done, start=1):
        own = sum(open_.pop(name, 0.0) for name in pieces[index])
        cached = isinstance(result, Outcome) and result.cached
        if isinstance(result, Outcome) and not cached:
            worked, expected = worked + spent, expected + own
        pace = (worked / expected if expected else 1.0) / lanes
        left = f"; about {_hours(sum(open_.values()) * pace)} left" if open_ else ""
        say(f"[{number}/{len(runs)}] {runs[index].label}: {_told(result, spent)}{left}")
        yield result


def _shares(run: ArmRun) -> tuple[str, int, bool]:
    """Runs of which this is the same have steps in common: a style stage, above all."""
    return run.pair.name, run.seed, run.recipe.trains_style


def _told(result: Outcome | Failure, seconds: float) -> str:
    """How it went, and what share of the merged model's pictures shows the look."""
    if isinstance(result, Failure):
        return f"failed: {result.error}"
    words = [_hours(seconds) + " (cached)" * result.cached]
    if result.gates:
        verdict = "passed" if result.gates.passed else "missed"
        words.append(f"gate {verdict} (look in {percent_of(result.gates.merged.look)})")
    return ", ".join(words)


def _attempt(run: ArmRun, scope: Scope, at: RunContext) -> Outcome | Failure:
    try:
        return _outcome(run, scope, at)
    except HeadcanonError as error:
        return Failure(run, " ".join(str(error).split()))
    except Exception as error:  # whatever it is, the other arms are worth having
        return Failure(run, f"{type(error).__name__}: {' '.join(str(error).split())}")


def finished(runs: Sequence[ArmRun], scope: Scope, at: RunContext) -> list[Outcome]:
    """Outcomes of those arm runs whose every step is in the store; nothing is trained."""
    found = []
    for run in runs:
        with contextlib.suppress(UserError):  # an arm that fails, a rule file that is not there, has nothing finished
            if made := made_before(run, at):
                found.append(measured(run, scope, at, made, cached=True))
    return found


def made_before(run: ArmRun, at: RunContext) -> RunArtifacts | None:
    """What a run came to whose every step is in the store; None: something is missing, its gate's answer too.

    Raises:
        UserError: its recipe names what is not there.
    """
    peeked, asks = peek(run.recipe, at, _UNTIL), run.recipe.gates.redraw == "ask"
    if not peeked.is_finished or (asks and not has_answered(_unasked(run, at).artifacts, at)):
        return None
    return peeked.artifacts


def _outcome(run: ArmRun, scope: Scope, at: RunContext) -> Outcome:
    if run.recipe.gates.redraw == "ask":
        _answer(run, at)
    peeked = peek(run.recipe, at, _UNTIL)
    cached, made = peeked.is_finished, peeked.artifacts
    if not cached:
        made = make(run.recipe, at, _UNTIL)
    if not peek(run.recipe, at, _UNTIL).is_finished:
        raise HeadcanonError("a step is not found right after it was done; is something else deleting from the store?")
    return measured(run, scope, at, made, cached=cached)


def _answer(run: ArmRun, at: RunContext) -> None:
    """Select without a gate, and answer in a person's place what the gate will ask of that selection."""
    selecting = _unasked(run, at)
    made = selecting.artifacts if selecting.is_finished else make(selecting.artifacts.recipe, at, "select")
    answer_gate(made, run.pair.character.mark, at)


def _unasked(run: ArmRun, at: RunContext) -> Peeked:
    """The same run without a gate, as far as its selection."""
    gates = run.recipe.gates.model_copy(update={"redraw": "off"})
    return peek(run.recipe.model_copy(update={"gates": gates}), at, "select")


def make(recipe: Recipe, at: RunContext, until: Until) -> RunArtifacts:
    """Run a recipe as a command does, without a word."""
    with _quiet(), run_by_command():
        made = make_lora(recipe, at, until)
    tidy(at)
    return made


def measured(run: ArmRun, scope: Scope, at: RunContext, made: RunArtifacts, *, cached: bool) -> Outcome:
    """What the instruments read in a run's samples."""
    store = at.open_store()
    tagger = store.tree(made.inputs.tagger.sha256)
    instruments = Instruments(store, tagger, PROBE_FILE)
    samples = load_samples(store, made.samples)
    if run.arm.on_merged:
        samples = _on_merged(made, samples, at)
    return Outcome(
        run=run,
        samples=samples,
        readings=instruments.read(samples_manifest(samples)),
        screenshot=_screenshot(store, made.squares["character"]),
        gates=_gates(run, scope, at, made, instruments) if made.recipe.merge.use else None,
        redrawn=made.lora == made.last.lora if made.rounds else None,
        cached=cached,
    )


def _on_merged(made: RunArtifacts, samples: Samples, at: RunContext) -> Samples:
    """The same prompts and noise with the LoRA on the merged model, beside the base's own pictures without it."""
    from lora_core.sampling.epochs import sample_epochs
    from lora_core.sampling.sampler import SamplerConfig

    store, recipe = at.open_store(), made.recipe
    config = SamplerConfig(*recipe.base.reading, at.device, at.speed)
    ref = sample_epochs(store, made.styled.base, made.lora, recipe.sampling, config, trigger=recipe.trigger)
    drawn = tuple(one for one in load_samples(store, ref).samples if one.epoch != NO_LORA)
    return samples.model_copy(update={"samples": (*samples.of(NO_LORA), *drawn)})


def _gates(run: ArmRun, scope: Scope, at: RunContext, made: RunArtifacts, instruments: Instruments) -> Gates:
    """Draw and read: the style LoRA on the base by its own words alone, the merged model by anybody's."""
    store, recipe = at.open_store(), made.recipe  # method 'auto' has become another
    character = None if run.arm.style_set == CROWD else run.pair.style_character
    merged, lora = made.styled.base, made.styled.lora

    def measured(model: CheckpointRef, adapter: LoraRef | None, wanted: Sequence[str]) -> Gate:
        drawing = Drawing(store, model, adapter, scope.sampling, recipe.base.clip_skip, at.device)
        drawn = drawing.draw(wanted)
        readings = instruments.read(drawn)
        return gate([shown(readings[entry.image].tags, character) for entry in drawn.entries])

    return Gates(
        merged_model=merged,
        style=measured(made.inputs.base, lora, [style_tokens(recipe)] * scope.style_pictures),
        merged=measured(merged, None, prompts(scope.gate_prompts)),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the steps' own lines and bars: one line an arm run is enough."""
    console.quiet, before = True, console.quiet
    try:
        yield
    finally:
        console.quiet = before


def _screenshot(store: Store, squares: DatasetRef) -> str:
    """The first upper body, or whatever comes first."""
    entries = load_manifest(store, squares).entries
    return next((entry.image for entry in entries if entry.composition == "upper_body"), entries[0].image)


def _hours(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def store_of(out: Path) -> RunContext:
    """Where a proof keeps everything that it computed."""
    return RunContext(store=str(out / "store"))
