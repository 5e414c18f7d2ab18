"""A prompt's emphasis, against the examples that A1111's own documentation gives and against its rule."""

import pytest

from lora_core.captions.emphasis import Span, read_prompt, unemphasized
from lora_core.judging.evidence import tags_of_prompt


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("((word)), (word:1.5), [word]", [("word", 1.21), (", ", 1.0), ("word", 1.5), (", ", 1.0), ("word", 1 / 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0), ("house", 1.573), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55),
                (", sun, ", 1.1), ("sky", 1.4641), (".", 1.1),
            ],
        ),
        ("word:1.2) ]", [("word:1.2) ]", 1.0)]),
        ("ratio 16:9", [("ratio 16:9", 1.0)]),
        ("(a:b), (a: 1.5 )", [("a:b", 1.1), (", ", 1.0), ("a", 1.5)]),
        ("", []),
    ],
)  # fmt: skip
def test_a_prompt_is_read_as_a1111_reads_it(prompt: str, wanted: list[tuple[str, float]]) -> None:
    (section,) = read_prompt(prompt)
    assert [span.text for span in section] == [text for text, _ in wanted]
    assert [span.weight for span in section] == pytest.approx([weight for _, weight in wanted])


def test_break_begins_a_new_section() -> None:
    assert read_prompt("a girl BREAK (red hat)") == ((Span("a girl"),), (Span("red hat", 1.1),))
    assert read_prompt("BREAKFAST") == ((Span("BREAKFAST"),),)


def test_a_prompts_tags_are_those_without_emphasis() -> None:
    prompt = r"hcaiko, (smile:1.2), ((night)) BREAK bow \(weapon\)"
    assert unemphasized(prompt) == "hcaiko, smile, night, bow (weapon)"
    assert tags_of_prompt(prompt) == ("hcaiko", "smile", "night", "bow_(weapon)")
