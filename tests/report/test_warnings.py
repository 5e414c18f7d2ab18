"""What a report warns of."""

from pathlib import Path

import pytest
from scored import epoch, judged, score

from lora_core.recipe_file import parse_recipe
from lora_core.refs import LoraRef, ReportRef
from lora_core.report.assemble import _warnings
from lora_core.report.data import RedrawInputs, ReportInputs
from lora_core.store import Store

BEFORE, AFTER = ReportRef(sha256="a" * 64), ReportRef(sha256="b" * 64)
ROUND = RedrawInputs(lora=LoraRef(sha256="c" * 64), verdict=BEFORE, selected=ReportRef(sha256="d" * 64))


@pytest.mark.parametrize(
    ("redrawn", "published", "section"),
    [((), BEFORE, "character_training"), ((ROUND,), BEFORE, "character_training"), ((ROUND,), AFTER, "redraw")],
)
def test_where_the_last_epoch_is_the_best_more_are_asked_of_the_training_that_it_came_from(
    tmp_path: Path, redrawn: tuple[RedrawInputs, ...], published: ReportRef, section: str
) -> None:
    recipe = parse_recipe(
        {"name": "momo", "base": "base", "tagger": "tagger", "character": "character", "method": "naive"}, "a recipe"
    )
    verdict = judged(epoch(1, identity=score(0.4), leak=score(0.0)), epoch(2, identity=score(0.6), leak=score(0.0)))
    made = ReportInputs.model_construct(
        verdict=published, redrawn=redrawn, caption_check=None, style_check=None, merge_check=None
    )
    (warning,) = _warnings(Store(tmp_path), recipe, made, verdict)
    assert f"Raise [{section}] epochs." in warning
