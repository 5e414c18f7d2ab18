"""Several ways side by side: what stands where, and what a failed one costs."""

from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image
from scored import epoch, judged, score

from lora_core.judging.measure import PictureScores
from lora_core.judging.metrics import IDENTITY, LEAK
from lora_core.judging.verdict import Verdict
from lora_core.report.compare import Variant, compare_variants, render_comparison
from lora_core.report.data import Drawn
from lora_core.store.digests import digest_of


def png(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def made(name: str, identity: float, leak: float) -> Variant:
    prompts = ("mira, smile", "mira, night")
    samples = tuple(
        Drawn(epoch=epoch, weight=float(epoch != "none"), prompt=prompt, seed=seed, picture=png(colour))
        for epoch, colour in (("none", "red"), ("2", "blue"))
        for prompt in prompts
        for seed in (1, 2)
    )
    rows = (epoch(n, identity=score(i), leak=score(at)) for n, i, at in ((1, -0.1, 0.9), (2, identity, leak)))
    return Variant(
        name=name, what=f"Method {name}", verdict=judged(*rows), reason="Epoch 2.", checks=(("style: 1", False),),
        samples=samples,
    )  # fmt: skip


class Cells(HTMLParser):
    """The alternative texts of a page's pictures, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.alts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.alts.append(dict(attrs)["alt"] or "")


BROKEN = Variant(name="broken", what="Method note", reason="Failed: no <such> file")


def test_every_row_has_the_base_and_every_variant_that_drew_something() -> None:
    html = render_comparison([made("note", 0.5, 0.1), BROKEN, made("naive", 0.5, 0.6)])
    alts = [alt for alt in Cells(html).alts if alt]
    assert len(alts) == 2 * 2 * 3
    assert alts[:3] == ["no LoRA, seed 1: mira, smile", "note, seed 1: mira, smile", "naive, seed 1: mira, smile"]
    assert "https://" not in html


def test_scores_stand_by_name_and_what_misses_a_bound_is_marked() -> None:
    html = render_comparison([made("note", 0.5, 0.1), made("naive", 0.4, 0.8)])
    table = html.partition("<tbody>")[2].partition("</tbody>")[0]
    assert table.index(">note<") < table.index("0.10") < table.index('class="out"') < table.index("0.80")
    assert html.count("not passed") == 2


def test_a_failed_variant_is_shown_with_its_error_and_spoils_nothing() -> None:
    html = render_comparison([BROKEN, made("note", 0.5, 0.1)])
    assert "Failed: no &lt;such&gt; file" in html
    assert html.count('class="point chosen') == 1


@pytest.mark.parametrize("variants", [[BROKEN, BROKEN], []])
def test_a_page_of_nothing_but_failures_renders(variants: list[Variant]) -> None:
    assert "</html>" in render_comparison(variants)


TAGS = {"identity": ("cat_ears", "pink_hair"), "leak": ("nose",), "dataset_bias": ()}


def read(identity: float, *, base: str = "base", tags: dict[str, tuple[str, ...]] = TAGS) -> Verdict:
    """Its only epoch, with four pictures."""
    pictures = tuple(
        PictureScores(
            prompt_index=prompt, seed=seed, base=digest_of(f"{base}/{prompt}/{seed}".encode()),
            values={
                "identity": identity + 0.1 * prompt, "leak": 0.2, "copying": 0.0, "prompt_adherence": 0.5,
                "similarity": 0.3,
            },
        )
        for prompt in (0, 1)
        for seed in (1, 2)
    )  # fmt: skip
    one = epoch(1, identity=score(identity), leak=score(0.2)).model_copy(update={"pictures": pictures})
    return judged(one, measured_by=tags)


def test_every_two_variants_are_compared_pair_by_pair() -> None:
    found = compare_variants([("note", read(0.5)), ("naive", read(0.3)), ("low", read(0.5))])
    assert [(one.name, one.other, one.pairs) for one in found] == [
        ("naive", "note", 4), ("low", "note", 4), ("low", "naive", 4)
    ]  # fmt: skip
    assert found[0].differences["identity"].mean == pytest.approx(-0.2)
    assert [one.apart(IDENTITY) for one in found] == [True, False, True]
    assert not found[0].apart(LEAK)


def test_what_was_measured_by_other_tags_or_drawn_on_another_base_is_not_compared() -> None:
    other_traits = read(0.3, tags={**TAGS, "identity": ("cat_ears",)})
    (traits,) = compare_variants([("note", read(0.5)), ("naive", other_traits)])
    assert (traits.pairs, set(traits.differences)) == (4, {"leak", "copying", "prompt_adherence", "similarity"})
    other_order = read(0.3, tags={**TAGS, "identity": ("pink_hair", "cat_ears")})
    assert "identity" in compare_variants([("note", read(0.5)), ("naive", other_order)])[0].differences
    other_model = read(0.3, tags={**TAGS, "similarity": ("embedder 1a2b",)})
    assert "similarity" not in compare_variants([("note", read(0.5)), ("naive", other_model)])[0].differences
    (base,) = compare_variants([("note", read(0.5)), ("naive", read(0.3, base="another"))])
    assert (base.pairs, base.differences) == (0, {})


def test_the_page_has_a_line_for_every_two_and_marks_what_differs() -> None:
    pair = [
        made(name, identity, 0.1).model_copy(update={"verdict": read(identity)})
        for name, identity in (("note", 0.5), ("naive", 0.3))
    ]
    html = render_comparison(pair)
    table = html.partition("Differences, picture by picture")[2].partition("</table>")[0]
    assert "naive − note" in table
    assert '<td class="score apart">−0.20' in table
    assert table.count("apart") == 1
    assert "Differences, picture by picture" not in render_comparison([made("note", 0.5, 0.1), BROKEN])
