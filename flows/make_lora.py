"""The whole method as one graph (docs/method.md). Every step is cached, so a run goes on where the last one ended."""

from typing import NamedTuple

from prefect import flow
from prefect.futures import PrefectFuture

from flows.ending import end_as_asked
from flows.errors import recompute_damaged
from flows.gate import pass_epoch_gate, pass_gate, pass_successor_gate
from lora_core.captions.content import words_of
from lora_core.captions.rules import Rules, style_rules
from lora_core.recipe import Recipe
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef, ReportRef, TagsRef
from lora_core.report.data import RunArtifacts
from lora_core.tagging.select import Thresholds, thresholds
from tasks.caching import found_finished
from tasks.caption import check_content, edit_captions, find_rules, refuse_at_once
from tasks.check import check_captions, check_merge, check_style, tell_findings
from tasks.compositions import check_plan, settle_for_captions, settle_style
from tasks.find import find_base, find_classifier, find_embedder, find_screenshots, find_tagger, further_bases
from tasks.judge import judge, transfer
from tasks.merge import merge
from tasks.preprocess import downscale, preprocess, without_remarks
from tasks.publish import check_name, check_successor, publish, push, report, tell, tidy, without_place
from tasks.runtime import At
from tasks.sample import sample_epochs
from tasks.steps import Until
from tasks.stopping import stopping_all_when_one_fails
from tasks.subtract import subtract
from tasks.tag import tag
from tasks.train import prepare_to_train, train_character, train_style

# Steps that are done together, so that a run stops behind all of them.
_CAPTIONS: frozenset[Until] = frozenset(("caption", "check captions", "downscale"))
_MERGE: frozenset[Until] = frozenset(("check style", "merge", "check merge"))
_REPORT: frozenset[Until] = frozenset(("transfer", "report"))


class Found(NamedTuple):
    """What a recipe names, found and known by its content; no style, classifier or embedder: it names none."""

    base: CheckpointRef
    tagger: CheckpointRef
    style: DatasetRef | None
    character: DatasetRef
    rules: Rules
    least: Thresholds
    classifier: CheckpointRef | None = None
    embedder: CheckpointRef | None = None

    @property
    def files(self) -> tuple[CheckpointRef | DatasetRef, ...]:
        """All that was read from the user's disk."""
        return self.base, self.tagger, *((self.style,) if self.style else ()), self.character


class Seen(NamedTuple):
    """A set of screenshots and what the tagger sees in them."""

    pictures: DatasetRef
    tags: TagsRef
    tagger: CheckpointRef


class Pictures(NamedTuple):
    """Both sets as squares, with compositions, and what the tagger sees in them; no style: the recipe names none."""

    style_squares: DatasetRef | None
    squares: DatasetRef
    style: Seen | None
    character: DatasetRef
    tags: TagsRef


class Captioned(NamedTuple):
    """The character's pictures with captions, their small copies, and what the caption rules say of them."""

    pictures: DatasetRef
    copies: DatasetRef | None
    check: ReportRef


class Styled(NamedTuple):
    """Stages 1 and 2: what the character is trained on, the style LoRA, and the checks of both."""

    base: CheckpointRef
    lora: LoraRef | None = None
    check: ReportRef | None = None
    merge_check: ReportRef | None = None


@flow(name="headcanon", validate_parameters=False, persist_result=False)
@end_as_asked
@recompute_damaged
def make_lora(recipe: Recipe, at: At, until: Until = "publish") -> str:
    """Screenshots in, character LoRA out; stops after the step `until`. Returns the folder it published, or ""."""
    with stopping_all_when_one_fails():
        found = find(recipe, at)
        base, drawing = found.base, recipe.sampling.on_one_base
        refuse_at_once(words_of(recipe, found.rules), base, found.tagger, recipe.tagger.model, at)
        check_name(recipe, found.rules, found.files)

        style = preprocess(found.style, recipe.preprocess, at) if found.style else None
        squares = preprocess(found.character, recipe.preprocess, at)
        if until == "preprocess":
            return ""
        pictures = look_at(style, squares, found, recipe, at)
        if until == "tag":
            return ""
        look = pictures.style if recipe.trains_style else None
        trained = begin_style(look, found, recipe, at) if look and until not in _CAPTIONS else None
        captioned = write_captions(pictures, found, recipe, at)
        if until in _CAPTIONS:
            return ""
        if until == "train style":
            if trained:
                trained.result()
            return ""
        styled = styled_base(recipe, base, trained.result(), look, at) if look and trained else Styled(base)
        if until in _MERGE:
            return ""
        lora = learn_character(captioned, pictures.style, styled, recipe, at)
        if until == "train character":
            return ""
        if styled.lora and recipe.difference.use:
            lora = subtract(lora, styled.lora, recipe.difference, at)
        if until == "subtract":
            return ""
        samples = sample_epochs(base, lora, drawing, recipe.trigger, *recipe.base.reading, at)
        if until == "sample":
            return ""
        verdict = judged(samples, pictures, found, recipe, at)
        if until == "judge":
            return ""
        verdict = pass_epoch_gate(recipe, samples, verdict, at)
        return hand_over(pictures, captioned, styled, lora, samples, verdict, found, recipe, at, until)


def find(recipe: Recipe, at: At) -> Found:
    """Everything the recipe names, before any work."""
    return Found(
        find_base(recipe.base, at), find_tagger(recipe.tagger, at),
        find_screenshots(recipe.style.images, at) if recipe.style.images else None,
        find_screenshots(recipe.character.images, at),
        find_rules(recipe.captions, recipe.trigger), thresholds(recipe.tagger),
        find_classifier(recipe.judging, at), find_embedder(recipe.judging, at),
    )  # fmt: skip


def look_at(style: DatasetRef | None, squares: DatasetRef, found: Found, recipe: Recipe, at: At) -> Pictures:
    """Tag both sets; refuse forbidden content; tell compositions, and how the sets differ from the plan."""
    look = tagged(style, found.tagger, at) if style else None
    character = tagged(squares, found.tagger, at)
    every = [each for each in (look, character) if each]
    sets = tuple(each.pictures for each in every), tuple(each.tags for each in every)
    check_content(*sets, words_of(recipe, found.rules), found.base, at)
    style_squares = settle_style(style, look.tags, at) if style and look else None
    if style and look:
        look = with_words(look, style, recipe, at)
    squares = settle_for_captions(squares, character.tags, found.rules, recipe.preprocess, at)
    check_plan(style_squares, squares, recipe.plan, at)
    return Pictures(style_squares, squares, look, without_remarks(squares, at), character.tags)


def tagged(squares: DatasetRef, tagger: CheckpointRef, at: At) -> Seen:
    """A set's pictures and what the tagger sees in them."""
    pictures = without_remarks(squares, at)
    return Seen(pictures, tag(pictures, tagger, at), tagger)


def with_words(style: Seen, squares: DatasetRef, recipe: Recipe, at: At) -> Seen:
    """The style set with words for all that is seen but the look, where the recipe wants them."""
    if not recipe.captions_style:
        return style
    rules = style_rules()
    pictures = without_remarks(settle_for_captions(squares, style.tags, rules, recipe.preprocess, at), at)
    least = thresholds(recipe.tagger)
    return style._replace(pictures=edit_captions(pictures, style.tags, rules, recipe.style.identifier, least, at))


def begin_style(style: Seen, found: Found, recipe: Recipe, at: At) -> PrefectFuture[LoraRef]:
    """Stage 1, which trains while the captions are written."""
    options, tokens = recipe.style_training, style_tokens(recipe)
    inputs = (found.base, style.pictures, tokens, options, *recipe.base.reading, at)
    if found_finished(train_style, *inputs) is None:
        prepare_to_train(options)
    return train_style.submit(*inputs)


def write_captions(pictures: Pictures, found: Found, recipe: Recipe, at: At) -> Captioned:
    """Captions that leave out what the character is, checked, and small copies of the captioned pictures."""
    rules = (found.rules, recipe.trigger, found.least)
    captioned = edit_captions(pictures.character, pictures.tags, *rules, at)
    check = check_captions(pictures.character, pictures.tags, *rules, at)
    tell_findings(check, at)
    pass_gate(recipe.gates.captions, "captions", check, recipe.gates, at)
    copies = downscale(captioned, recipe.downscale.size, at) if recipe.downscale.size else None
    return Captioned(captioned, copies, check)


def styled_base(recipe: Recipe, base: CheckpointRef, lora: LoraRef, seen: Seen, at: At) -> Styled:
    """Stage 2: the base with the 3D look in it. No character in here: the next one finds it all cached."""
    tokens, reading = style_tokens(recipe), recipe.base.reading
    gates, drawing = recipe.gates, recipe.sampling.on_one_base
    check = check_style(base, lora, tokens, *seen, gates.style_share, drawing, *reading, at)
    pass_gate(gates.style, "style LoRA", check, gates, at)
    if not recipe.merge.use:
        return Styled(base, lora, check)
    merged = merge(base, lora, recipe.merge, at)
    merge_check = check_merge(base, lora, merged, recipe.merge, *seen, gates.merge_share, drawing, *reading, at)
    pass_gate(gates.merge, "merged model", merge_check, gates, at)
    return Styled(merged, lora, check, merge_check)


def learn_character(captioned: Captioned, style: Seen | None, styled: Styled, recipe: Recipe, at: At) -> LoraRef:
    """Stage 3: the character, trained where the look is known already."""
    return train_character(
        recipe.name, recipe.trigger, styled.base, captioned.pictures, captioned.copies, recipe.downscale,
        style.pictures if style else None, style_tokens(recipe), recipe.regularization, recipe.character_training,
        *recipe.base.reading, at,
    )  # fmt: skip


def judged(samples: ReportRef, pictures: Pictures, found: Found, recipe: Recipe, at: At) -> ReportRef:
    """Figures of every epoch and weight, and the one that the rule chooses."""
    return judge(
        samples, pictures.character, pictures.tags, found.rules, recipe.trigger, found.least, found.tagger,
        found.classifier, found.embedder, recipe.judging.without_place, at,
    )  # fmt: skip


def hand_over(
    pictures: Pictures, captioned: Captioned, styled: Styled, lora: LoraRef, samples: ReportRef, verdict: ReportRef,
    found: Found, recipe: Recipe, at: At, until: Until,
) -> str:  # fmt: skip
    """The chosen epoch tried on further bases, the report, the published folder. Returns the folder, or ""."""
    elsewhere = tuple(
        (name, transfer(
            other, lora, verdict, pictures.character, pictures.tags, found.rules, recipe.trigger, found.least,
            found.tagger, recipe.sampling.on_one_base, recipe.judging.without_place, recipe.base.clip_skip, at,
        ))
        for name, other in further_bases(recipe.sampling, at)
    )  # fmt: skip
    made = RunArtifacts(
        base=found.base, style_squares=pictures.style_squares, squares=pictures.squares, pictures=pictures.character,
        captioned=captioned.pictures, style_lora=styled.lora, style_check=styled.check,
        merge_check=styled.merge_check, caption_check=captioned.check, lora=lora, samples=samples, verdict=verdict,
        transfer=elsewhere, successor_check=(beside := check_successor(recipe, found.base, verdict, at)),
    )  # fmt: skip
    files = report(without_place(recipe), made, pictures.tags, found.rules, at)
    if until in _REPORT:
        return ""
    if beside:
        pass_successor_gate(recipe, beside, files, at)
    folder = publish(recipe, files, found.rules, found.files, at)
    tell(recipe, verdict, samples, folder, push(recipe, files, at), at)
    tidy(at)
    return folder


def style_tokens(recipe: Recipe) -> str:
    """DreamBooth's identifier and class."""
    return f"{recipe.style.identifier} {recipe.style.class_word}"
