"""The report: one file, readable by a parser, with everything escaped."""

import json
from html.parser import HTMLParser
from io import BytesIO
from xml.etree import ElementTree

import pytest
from PIL import Image
from scored import epoch, judged, score

from lora_core.judging.leak import LookWord
from lora_core.judging.measure import EpochMetrics, TagDelta
from lora_core.judging.similarity import Closest
from lora_core.judging.verdict import Verdict
from lora_core.recipe import Judging
from lora_core.report.card import choose_preview, model_card, sample_prompts, user_metadata
from lora_core.report.data import (
    CaptionRow,
    CheckRow,
    DataSheet,
    Drawn,
    Elsewhere,
    LeftOut,
    LossCurve,
    ReportData,
    Timing,
)
from lora_core.report.html import render
from lora_core.report.plots import identity_against_leak, loss_curve, weight_shapes

EVIL = "<script>alert('x')</script>"


def png(colour: str, size: tuple[int, int] = (32, 48)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(number: int, identity: float, leak: float, *, weight: float = 0.8) -> EpochMetrics:
    scores = {"identity": score(identity), "leak": score(leak, 0.04), "copying": score(0.1), "diversity": score(0.7)}
    return epoch(number, weight, **scores)


BASE = {"diversity": score(0.9)}
BY = {"identity": ("blue_hair",)}
ROWS = (row(1, 0.2, 0.1), row(2, 0.5, 0.2), row(3, 0.6, 0.4))
VERDICT = judged(*ROWS, base=BASE, measured_by=BY, not_measured=("3d",))


CAPTION = CaptionRow(
    name="upper_01",
    picture=png("white"),
    before=("1girl", "blue_hair", "red_eyes"),
    after=("hc_mira", "1girl"),
    changes=(
        ("removed", "is the character's", ("blue_hair", "red_eyes")),
        ("added", "trigger", ("hc_mira",)),
    ),
)
DATA = ReportData(
    name="Mira",
    trigger="hc_mira",
    file="Mira.safetensors",
    verdict=VERDICT,
    preview=png("blue"),
    elsewhere=(Elsewhere(base="other.safetensors", metrics=row(2, 0.3, 0.1), picture=png("red")),),
    samples=tuple(
        Drawn(epoch=epoch, weight=0.0 if epoch == "none" else 0.8, prompt="hc_mira, smile", seed=1, picture=png(colour))
        for epoch, colour in (("none", "red"), ("1", "green"), ("2", "blue"), ("3", "black"))
    ),
    checks=(
        CheckRow(
            name="merge",
            passed=False,
            line="merge: 1.2, at most 0.25",
            advice="merge again",
            details=tuple(f"missing white: prompt {number}" for number in range(8)),
        ),
    ),
    curves=(LossCurve(label="Character LoRA", points=((1, 0.3), (2, 0.2), (3, 0.1), (4, 0.1)), epochs=2),),
    sheets=(DataSheet(title="Character", text="1 picture", picture=png("white")),),
    captions=(CAPTION,) * 8,
    left_out=(LeftOut(source="b.txt", reason="not a picture"),),
    recipe='name = "Mira"',
    versions=(("torch", "2.13.0"),),
    timings=(Timing(step="Tag", seconds=3725, cached=True),),
)


def with_verdict(verdict: Verdict) -> ReportData:
    return DATA.model_copy(update={"verdict": verdict})


class Page(HTMLParser):
    """Tags that are open, all text, and addresses of pictures."""

    VOID = ("meta", "img", "link", "br", "input", "line", "circle", "rect", "polyline", "polygon")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_well_formed_and_needs_no_other_file() -> None:
    html = render(DATA)
    page = Page(html)
    assert page.open == []
    assert page.sources
    assert all(source.startswith("data:image/webp;base64,") for source in page.sources)
    assert "http://" not in html
    assert "https://" not in html


def test_the_result_stands_first_with_the_line_to_paste() -> None:
    html = render(DATA)
    assert html.index("&lt;lora:Mira:0.8&gt; hc_mira") < html.index("Epoch by epoch") < html.index("Why this epoch")
    assert "Look before you use it" not in html
    assert "Look before you use it" in render(with_verdict(judged(*ROWS, options=Judging(max_leak=0))))


def test_everything_that_a_user_wrote_is_escaped() -> None:
    evil_caption = CAPTION.model_copy(update={"name": EVIL, "before": (EVIL,), "after": (EVIL,)})
    data = DATA.model_copy(
        update={
            "name": EVIL,
            "trigger": EVIL,
            "recipe": EVIL,
            "samples": tuple(drawn.model_copy(update={"prompt": EVIL}) for drawn in DATA.samples),
            "captions": (evil_caption,),
            "left_out": (LeftOut(source=EVIL, reason=EVIL),),
            "curves": (DATA.curves[0].model_copy(update={"label": EVIL}),),
            "verdict": VERDICT.model_copy(
                update={
                    "choice": VERDICT.choice.model_copy(update={"reason": EVIL}),
                    "measured": VERDICT.measured.model_copy(
                        update={
                            "epochs": tuple(one.model_copy(update={"epoch": EVIL}) for one in ROWS),
                            "measured_by": {"identity": (EVIL,)},
                        }
                    ),
                }
            ),
        }
    )
    html = render(data)
    assert EVIL not in html
    assert Page(html).seen.count("script") == 1


def test_the_grid_has_the_column_without_the_lora_first() -> None:
    html = render(DATA)
    assert html.index(">no LoRA<") < html.index(">epoch 1 · 0.8<") < html.index(">epoch 3 · 0.8<")


def test_captions_beyond_the_sixth_are_folded_away() -> None:
    html = render(DATA)
    assert "<summary>2 more</summary>" in html
    assert "<del>blue_hair</del>" in html
    assert "<ins>hc_mira</ins>" in html


def test_changes_with_one_reason_are_listed_together() -> None:
    assert '<b>removed</b> <span class="tags">blue_hair, red_eyes</span> – is the character&#39;s</li>' in render(DATA)


def test_an_unmeasured_metric_is_called_so() -> None:
    page = "".join(Page(render(with_verdict(judged(epoch(1, copying=score(0.1)))))).text)
    assert page.count("not measured") == 2  # two figures at the top


def test_a_bare_report_renders() -> None:
    bare = ReportData(
        name="Mira", trigger="t", file="Mira.safetensors", verdict=judged(epoch(1)), preview=png("red"), samples=(),
        recipe="",
    )  # fmt: skip
    assert Page(render(bare)).open == []


def test_durations_are_in_words() -> None:
    assert "1 h 2 min" in render(DATA)


def test_the_plot_puts_leak_right_and_identity_up() -> None:
    svg = ElementTree.fromstring(identity_against_leak(VERDICT))
    points = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in svg.iter("circle")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    labels = [text.text for text in svg.iter("text") if "label" in text.attrib["class"]]
    assert labels == ["1", "2", "3"]
    assert [circle.attrib["class"] for circle in svg.iter("circle")] == ["point", "point chosen", "point out"]


def test_weights_have_shapes_of_their_own_and_of_many_points_few_are_named() -> None:
    rows = [
        row(number, 0.05 * number, 0.02 * number, weight=weight)
        for number in range(1, 11)
        for weight in (0.6, 0.8, 1.0)
    ]
    verdict = judged(*rows, options=Judging(epoch=7, weight=0.8))
    svg = ElementTree.fromstring(identity_against_leak(verdict))
    shapes = [
        [one for one in svg.iter(name) if "point" in one.attrib.get("class", "")]
        for name in ("circle", "rect", "polygon")
    ]
    assert [len(found) for found in shapes] == [10, 10, 10]
    assert sorted(t.text or "" for t in svg.iter("text") if "label" in t.attrib["class"]) == [
        "1",
        "1",
        "1",
        "10",
        "10",
        "10",
        "7",
    ]
    assert len(weight_shapes(verdict.rows)) == 3
    assert "epoch 7, weight 0.8: identity 0.35, leak of the look 0.14" in [title.text for title in svg.iter("title")]


def test_epochs_at_one_place_have_labels_at_different_places() -> None:
    svg = ElementTree.fromstring(identity_against_leak(judged(*(row(n, 0.5, 0.1) for n in (1, 2, 3)))))
    places = {(t.attrib["x"], t.attrib["y"]) for t in svg.iter("text") if "label" in t.attrib["class"]}
    assert len(places) == 3


def test_negative_and_zero_scores_can_be_plotted() -> None:
    for value in (-0.4, 0.0):
        flat = epoch(1, identity=score(value, 0), leak=score(value, 0))
        assert identity_against_leak(judged(flat, options=Judging(max_leak=0))).startswith("<svg")


def test_no_measured_epoch_gives_no_plot() -> None:
    assert identity_against_leak(judged(epoch(1, identity=score(0.5)))) == ""


def test_a_loss_curve_ends_at_its_last_step_and_dots_are_what_was_not_trained() -> None:
    points = tuple((step, 0.1) for step in range(2, 1151, 2))
    plain = LossCurve(label="a", points=points, epochs=10)
    curve = plain.model_copy(update={"validation": ((0, 0.2), (575, 0.15), (1150, 0.12))})
    (line,) = ElementTree.fromstring(loss_curve(curve)).iter("polyline")
    assert len(line.attrib["points"].split()) == 575
    right = float(line.attrib["points"].split()[-1].split(",")[0])
    dots = [float(dot.attrib["cx"]) for dot in ElementTree.fromstring(loss_curve(curve)).iter("circle")]
    assert dots[-1] == right
    assert dots[1] == pytest.approx((dots[0] + dots[2]) / 2)
    assert not list(ElementTree.fromstring(loss_curve(plain)).iter("circle"))
    ticks = [text.text for text in ElementTree.fromstring(loss_curve(plain)).iter("text")]
    assert "1000" in ticks or "1,000" in ticks


def test_a_training_of_one_step_has_no_curve() -> None:
    assert loss_curve(LossCurve(label="a", points=((1, 0.1),))) == ""


def test_the_card_says_how_to_use_it_and_escapes() -> None:
    card = model_card(DATA.model_copy(update={"name": "<b>Mi|ra</b>"}), base="owner/name", licence="")
    assert "<lora:Mira:0.8> hc_mira" in card
    assert "<b>" not in card.replace("\\<b\\>", "")
    assert "| Licence | not stated |" in card
    assert (
        "| 2 | 0.8 | 0.50 (0.40 to 0.60) | 0.20 (0.16 to 0.24) | 0.10 (0.00 to 0.20) | 0.70 (0.60 to 0.80) | this one |"
        in card
    )


def front_matter(card: str) -> dict[str, object]:
    head = card.split("---\n")[1]
    return {name: json.loads(value) for name, _, value in (line.partition(": ") for line in head.splitlines())}


@pytest.mark.parametrize(
    ("licence", "facts"),
    [
        ("", {}),
        ("cc-by-4.0", {"license": "cc-by-4.0"}),
        ("Ask: me", {"license": "other", "license_name": "Ask: me"}),
    ],
)
def test_the_card_begins_with_what_the_hub_reads(licence: str, facts: dict[str, str]) -> None:
    found = front_matter(model_card(DATA, base="owner/name", licence=licence))
    assert found["instance_prompt"] == "hc_mira"
    assert found["base_model"] == "owner/name"
    assert {name: value for name, value in found.items() if name.startswith("license")} == facts
    assert "base_model" not in front_matter(model_card(DATA, base="model.safetensors", licence=licence))


def test_sample_prompts_call_the_lora() -> None:
    assert sample_prompts(DATA) == "hc_mira, smile, <lora:Mira:0.8>\n"


def test_every_epoch_has_its_reason_and_the_base_its_own_row() -> None:
    said = " ".join("".join(Page(render(DATA)).text).split())
    assert "lower end of identity 0.10" in said
    assert "0.90 0.80 to 1.00" in said.partition("no LoRA")[2]
    assert "other.safetensors" in said
    assert "and 2 more" in said


def test_an_embedders_metrics_are_shown_where_there_is_one() -> None:
    update = {
        "scores": {**ROWS[1].scores, "copying_cosine": score(0.05), "similarity": score(0.3)},
        "closest": Closest(picture="upper_01", cosine=0.97),
    }
    html = render(with_verdict(judged(ROWS[0], ROWS[1].model_copy(update=update))))
    assert '<th scope="col">Share of copies by the embedder\u00a0↓</th>' in html
    assert '<th scope="col">Similarity by the embedder</th>' in html
    assert "By the embedder: upper_01, cosine 0.97" in html
    assert "embedder" not in render(DATA)


def test_filters_offer_what_there_is_to_choose_from() -> None:
    one = render(DATA)
    assert 'name="weight"' not in one
    more = tuple(drawn.model_copy(update={"weight": 0.4, "seed": 2}) for drawn in DATA.samples[1:])
    both = render(DATA.model_copy(update={"samples": (*DATA.samples, *more)}))
    assert both.count('type="radio"') == 3
    assert 'value="0.8" checked' in both
    assert '<option value="2">2</option>' in both


def test_a_lora_without_a_style_stage_claims_nothing_of_it() -> None:
    plain = DATA.model_copy(update={"styled": False})
    card = model_card(plain, base="owner/name", licence="")
    assert "straight on the base model" in card
    assert "leaves the 3D look behind" not in card
    assert "not for the merged one" in render(DATA)
    assert "merged one" not in render(plain)
    assert "without their look" not in str(user_metadata(plain, "sd1")["description"])


def test_a_difference_of_two_loras_is_called_so() -> None:
    difference = DATA.model_copy(update={"subtracted": True})
    card = model_card(difference, base="owner/name", licence="")
    assert "This is the second minus the first" in card
    assert "leaves the 3D look behind" in card
    assert "merged" not in card
    assert "merged one" not in render(difference)


def test_web_uis_get_their_own_keys() -> None:
    assert user_metadata(DATA, "sd1") == {
        "description": "Mira, learned from 3D-creator screenshots without their look. Epoch 2.",
        "sd version": "SD1",
        "activation text": "hc_mira",
        "preferred weight": 0.8,
        "notes": VERDICT.choice.reason,
    }


def test_the_preview_is_the_chosen_epochs_first_picture() -> None:
    assert choose_preview(DATA.samples, "2", 0.8) == png("blue")
    with pytest.raises(ValueError, match=r"epoch 2 at weight 0\.6"):
        choose_preview(DATA.samples, "2", 0.6)


def test_tags_are_counted_before_and_after_and_tokens_beside_their_caption() -> None:
    captions = tuple(CAPTION.model_copy(update={"tokens": tokens}) for tokens in (12, 80, 230))
    said = "".join(
        Page(render(DATA.model_copy(update={"frequencies": (("blue_hair", 8, 0),), "captions": captions}))).text
    )
    assert "8–" in "".join(said.split())
    assert "12 tokens" in said
    assert "230 tokens, 225 are read" in said
    assert "80 tokens," not in said
    short = DATA.model_copy(update={"captions": captions, "most_tokens": 75})
    assert "80 tokens, 75 are read" in "".join(Page(render(short)).text)


def test_a_reader_sees_which_word_leaks() -> None:
    tags = (TagDelta(tag="realistic", base=0.1, epoch=0.7), TagDelta(tag="nose", base=0.2, epoch=0.25))
    look = (
        LookWord(name="realistic", base=0.1, screenshots=0.9),
        LookWord(name="nose", base=0.2, screenshots=0.3),
        LookWord(name="3d", base=0.0, screenshots=0.0),  # the tagger does not know it
    )
    rows = tuple(one.model_copy(update={"tags": tags}) for one in ROWS)
    verdict = judged(*rows, base=BASE, measured_by=BY)
    measured = verdict.measured.model_copy(update={"look": look})
    said = " ".join(Page(render(with_verdict(verdict.model_copy(update={"measured": measured})))).text)
    assert "realistic 0.10 0.90 0.70 75 %" in " ".join(said.split())
    assert "nose 0.20 0.30 0.25 does not see it" in " ".join(said.split())
    assert "3d" not in said.partition("word by word")[2].partition("Share of the way")[2][:200]
