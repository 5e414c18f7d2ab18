"""Several ways side by side: what stands where, and what a failed one costs."""

from html.parser import HTMLParser
from io import BytesIO

import pytest
from PIL import Image

from lora_core.report.compare import Variant, render_comparison
from lora_core.report.data import Drawn, EpochRow, Interval


def png(colour: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 24), colour).save(buffer, "PNG")
    return buffer.getvalue()


def row(epoch: int, identity: float, leak: float, *, chosen: bool = False) -> EpochRow:
    figures = {
        name: Interval(mean=v, low=v - 0.1, high=v + 0.1) for name, v in (("identity", identity), ("leak", leak))
    }
    return EpochRow(epoch=str(epoch), **figures, within_bounds=leak <= 0.25, chosen=chosen, reason=f"reason {epoch}")


def made(name: str, identity: float, leak: float) -> Variant:
    prompts = ("mira, smile", "mira, night")
    samples = tuple(
        Drawn(epoch=epoch, weight=float(epoch != "none"), prompt=prompt, seed=seed, picture=png(colour))
        for epoch, colour in (("none", "red"), ("2", "blue"))
        for prompt in prompts
        for seed in (1, 2)
    )
    rows = (row(1, 0.0, 0.0), row(2, identity, leak, chosen=True))
    return Variant(
        name=name, what=f"Method {name}", rows=rows, reason="Epoch 2.", checks=(("style: 1", False),), samples=samples
    )


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
    html = render_comparison([made("note", 0.5, 0.1), BROKEN, made("naive", 0.5, 0.6)], 0.25)
    alts = [alt for alt in Cells(html).alts if alt]
    assert len(alts) == 2 * 2 * 3
    assert alts[:3] == ["no LoRA, seed 1: mira, smile", "note, seed 1: mira, smile", "naive, seed 1: mira, smile"]
    assert "https://" not in html


def test_figures_stand_by_name_and_what_misses_a_bound_is_marked() -> None:
    html = render_comparison([made("note", 0.5, 0.1), made("naive", 0.4, 0.8)], 0.25)
    table = html.partition("<tbody>")[2].partition("</tbody>")[0]
    assert table.index(">note<") < table.index("0.10") < table.index('class="out"') < table.index("0.80")
    assert html.count("not passed") == 2


def test_a_failed_variant_is_shown_with_its_error_and_spoils_nothing() -> None:
    html = render_comparison([BROKEN, made("note", 0.5, 0.1)], 0.25)
    assert "Failed: no &lt;such&gt; file" in html
    assert html.count('class="point chosen') == 1


@pytest.mark.parametrize("variants", [[BROKEN, BROKEN], []])
def test_a_page_of_nothing_but_failures_renders(variants: list[Variant]) -> None:
    assert "</html>" in render_comparison(variants, 0.25)
