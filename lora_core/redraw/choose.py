"""From drawn pictures to the final training set: read by the tagger, selected, and put beside screenshots if wanted."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lora_core.captions import content
from lora_core.captions.caption import EditedCaptions
from lora_core.captions.rules import Rules, matches
from lora_core.dataset import Entry, Manifest, TagTable
from lora_core.errors import ContentRuleError, RecipeError
from lora_core.judging.evidence import seen_of, traits_of
from lora_core.judging.gates import with_gates
from lora_core.judging.onnx_models import class_probabilities
from lora_core.judging.similarity import compare_images
from lora_core.progress import Progress, silent
from lora_core.recipe import COMPOSITIONS, LEAK_TAGS, Judging, Redraw, ShotPlan
from lora_core.redraw.draw import RedrawnSet, read_redrawn
from lora_core.redraw.judgement import Selection, selection_gate
from lora_core.redraw.scenes import Figure, Seen, people_of, screenshots_beside
from lora_core.redraw.selection import LIKELY_CLASS, Bounds, Candidate, select_pictures
from lora_core.refs import ReportRef
from lora_core.store import Store
from lora_core.tagging.labels import read_labels
from lora_core.tagging.tag import tag

SELECTION_FILE = "selection.json"


class Held(NamedTuple):
    """What the pictures of a round are held to.

    Attributes:
        figure: who was drawn.
        plan: compositions of the set.
        options: the recipe's section.
        judging: says what a copy is.
        left_out: names that a person took out.
    """

    figure: Figure
    plan: ShotPlan
    options: Redraw
    judging: Judging
    left_out: tuple[str, ...] = ()


def figure_of(captions: EditedCaptions, rules: Rules, options: Redraw) -> Figure:
    """Who is to be drawn: the traits that the recipe names, or what the captions leave out.

    Raises:
        RecipeError: there is none.
    """
    traits = tuple(tag.replace(" ", "_") for tag in options.traits) or traits_of(captions.edited)
    if not traits:
        raise RecipeError(
            "redraw: there is no trait to name, since the captions leave nothing out; name the character's in [redraw] "
            "traits, such as traits = ['blonde_hair', 'blue_eyes']"
        )
    has_outfit = any(matches(trait, pattern) for trait in traits for pattern in rules.outfit)
    return Figure(
        rules.trigger or captions.trigger, people_of(captions.edited), traits, has_outfit, seen_of(captions.edited)
    )


def screenshots_of(captions: EditedCaptions, rules: Rules) -> tuple[Seen, ...]:
    """The screenshots as redrawn pictures can begin with them: what their captions say, but not their look."""
    without = {captions.trigger, *rules.add, *rules.face, *LEAK_TAGS}
    found = []
    for entry, one in zip(captions.manifest.entries, captions.edited, strict=True):
        tags = tuple(tag for tag in (entry.outfit, *one.tags) if tag and tag not in without)
        framing = next((each for each in COMPOSITIONS if each in tags), None)
        if framing:
            found.append(Seen(entry.name, framing, tags))
    return tuple(found)


def choose(
    store: Store,
    drawn: ReportRef,
    screenshots: Manifest,
    tagger: Mapping[str, Path],
    held: Held,
    progress: Progress = silent,
    classifier: Mapping[str, Path] | None = None,
) -> ReportRef:
    """Let the tagger read every picture, and the classifier if there is one, and select.

    Args:
        store: where everything is.
        drawn: of `draw_scenes`.
        screenshots: which no picture may copy.
        tagger: its files.
        held: see there.
        progress: told after every picture.
        classifier: its files. One that does not see the look in the screenshots has no say.

    Returns:
        A tree of `selection.json`, a `Selection`, and `gate.json`.

    Raises:
        TaggerError: the tagger or the classifier cannot be used.
    """
    pictures = read_redrawn(store, drawn)
    table = tag(store, pictures.manifest, tagger, progress)
    labels = {label.name for label in read_labels(tagger["selected_tags.csv"])}
    bounds = Bounds(
        options=held.options,
        plan=held.plan,
        traits=_known(held.figure.traits, labels),
        look=_known(LEAK_TAGS, labels),
        own=frozenset((*held.figure.traits, *held.figure.seen)),
        copy_bits=held.judging.copy_bits,
        left_out=held.left_out,
    )
    label = held.judging.classifier_label
    classes = _classes(store, pictures.manifest, screenshots, classifier, label) if classifier else {}
    found = select_pictures(_candidates(store, pictures, table, classes, screenshots, held), bounds)
    selected = store.path(store.put_json(found.model_dump(mode="json")))
    tree = ReportRef(sha256=store.put_tree({SELECTION_FILE: selected}))
    return with_gates(store, tree, [selection_gate(found, held.options)])


def read_selection(store: Store, ref: ReportRef) -> Selection:
    """What became of every picture."""
    return Selection.model_validate_json(store.tree(ref.sha256)[SELECTION_FILE].read_bytes())


def chosen_set(found: Selection) -> Manifest:
    """The chosen pictures, before they have captions, composition by composition as `Selection` has them."""
    return Manifest(
        entries=tuple(
            Entry(
                name=one.name, source=f"{one.name}.png", image=one.image, width=one.width, height=one.height,
                composition=one.composition, view=one.view, notes=(one.scene.prompt,),
            )
            for one in found.chosen
        )
    )  # fmt: skip


def with_screenshots(redrawn: Manifest, screenshots: Manifest, share: float, word: str) -> Manifest:
    """The final set: so large a share of it are screenshots, whose captions have a word for their look.

    Args:
        redrawn: with captions.
        screenshots: with captions; taken evenly from all over the set.
        share: of the whole, below 1.
        word: goes right after the trigger.
    """
    count = min(screenshots_beside(len(redrawn.entries), share), len(screenshots.entries))
    step = len(screenshots.entries) / count if count else 0
    taken = (screenshots.entries[int(number * step)] for number in range(count))
    named = (
        entry.model_copy(update={"caption": _with_word(entry.caption or (), word), "repeats": 0}) for entry in taken
    )
    return redrawn.model_copy(update={"entries": (*redrawn.entries, *named)})


def _with_word(caption: tuple[str, ...], word: str) -> tuple[str, ...]:
    return (*caption[:1], word, *(tag for tag in caption[1:] if tag != word))


def _known(tags: Sequence[str], labels: Collection[str]) -> tuple[str, ...]:
    return tuple(tag for tag in dict.fromkeys(tags) if tag in labels)


def _candidates(
    store: Store,
    pictures: RedrawnSet,
    table: TagTable,
    classes: Mapping[str, float],
    screenshots: Manifest,
    held: Held,
) -> list[Candidate]:
    entries = pictures.manifest.entries
    similarity = compare_images(store, list(dict.fromkeys(entry.image for entry in entries)), screenshots)
    found = []
    for entry, one in zip(entries, pictures.pictures, strict=True):
        nearest = similarity.nearest.get(entry.image)
        copies = not one.scene.screenshot  # what begins with a screenshot is to have its pose
        found.append(
            Candidate(
                name=entry.name,
                image=entry.image,
                size=(entry.width, entry.height),
                scene=one.scene,
                scores=table.of(entry),
                hash=int(similarity.hashes[entry.image], 16),
                copied=nearest.picture if copies and nearest and nearest.bits <= held.judging.copy_bits else "",
                forbidden=_forbidden(entry, table, one.scene.prompt),
                look_class=classes.get(entry.image, 0.0),
            )
        )
    return found


def _classes(
    store: Store, drawn: Manifest, screenshots: Manifest, classifier: Mapping[str, Path], label: str
) -> Mapping[str, float]:
    """The probability of the look's class by picture; nothing where the screenshots themselves are not of it."""
    shown = class_probabilities(store, screenshots, classifier, label)
    return class_probabilities(store, drawn, classifier, label) if fmean(shown.values()) > LIKELY_CLASS else {}


def _forbidden(entry: Entry, table: TagTable, prompt: str) -> str:
    try:
        content.check([(Manifest(entries=(entry,)), table)], (prompt,))
    except ContentRuleError as error:
        return str(error)
    return ""
