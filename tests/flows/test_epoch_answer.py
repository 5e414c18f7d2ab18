"""What a person says of the epoch: taken, remembered, or refused and asked again."""

from pathlib import Path

import pytest
from scored import epoch, judged, score

import flows.cli  # noqa: F401 (sets Prefect up; must come before anything that imports it)
from flows import gate
from flows.asking import EpochAnswer, Question
from flows.gate import pass_epoch_gate
from lora_core.errors import GateError
from lora_core.judging.verdict import VERDICT_FILE, read_verdict
from lora_core.recipe import Recipe
from lora_core.recipe_file import parse_recipe
from lora_core.refs import ReportRef
from lora_core.sampling.samples import GRID_FILE
from tasks.runtime import RunContext


@pytest.fixture
def recipe() -> Recipe:
    return parse_recipe(
        {"name": "a", "trigger": "a", "base": "b", "style": "s", "character": "c", "gates": {"epoch": "ask"}}, "test"
    )


@pytest.fixture
def at(tmp_path: Path) -> RunContext:
    return RunContext(store=str(tmp_path))


@pytest.fixture
def seen(at: RunContext) -> tuple[ReportRef, ReportRef]:
    """Samples and a verdict of two epochs, of which the rule takes the second."""
    store = at.open_store()
    verdict = judged(*(epoch(number, 0.8, identity=score(mean)) for number, mean in ((1, 0.3), (2, 0.5))))
    file = store.path(store.put_json(verdict.model_dump(mode="json")))
    trees = {GRID_FILE: store.path(store.put_bytes(b"a grid"))}, {VERDICT_FILE: file}
    samples, ref = (ReportRef(sha256=store.put_tree(tree)) for tree in trees)
    return samples, ref


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Question], list[EpochAnswer]]:
    """The questions so far, and answers to come."""
    questions: list[Question] = []
    answers: list[EpochAnswer] = []

    def ask(question: Question, form: type[EpochAnswer]) -> EpochAnswer:
        questions.append(question)
        return answers.pop(0)

    monkeypatch.setattr(gate, "ask", ask)
    return questions, answers


Asked = tuple[list[Question], list[EpochAnswer]]
Seen = tuple[ReportRef, ReportRef]


def test_every_epoch_is_listed_with_its_scores_and_why(
    recipe: Recipe, at: RunContext, seen: Seen, asked: Asked
) -> None:
    questions, answers = asked
    answers.append(EpochAnswer())
    assert pass_epoch_gate(recipe, *seen, at) == seen[1]
    (question,) = questions
    assert question.lines[1:] == (
        "epoch 1 at 0.8: identity 0.30 (0.20 to 0.40); leak of the look cannot be measured",
        "epoch 2 at 0.8: identity 0.50 (0.40 to 0.60); chosen, though leak of the look cannot be measured",
    )


def test_a_picked_epoch_is_taken_and_the_answer_remembered(
    recipe: Recipe, at: RunContext, seen: Seen, asked: Asked
) -> None:
    questions, answers = asked
    answers.append(EpochAnswer(epoch=1))
    for _ in range(2):
        choice = read_verdict(at.open_store(), pass_epoch_gate(recipe, *seen, at)).choice
        assert (choice.epoch, choice.by_hand) == ("1", True)
    assert len(questions) == 1


def test_an_epoch_that_was_not_drawn_is_refused_and_asked_for_again(
    recipe: Recipe, at: RunContext, seen: Seen, asked: Asked
) -> None:
    questions, answers = asked
    answers += [EpochAnswer(epoch=7), EpochAnswer(epoch=1)]
    with pytest.raises(GateError, match=r"epoch 7 at weight 0\.8 was not sampled; epochs: 1, 2"):
        pass_epoch_gate(recipe, *seen, at)
    assert read_verdict(at.open_store(), pass_epoch_gate(recipe, *seen, at)).choice.epoch == "1"
    assert len(questions) == 2
