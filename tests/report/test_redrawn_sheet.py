"""The contact sheet of a redrawing."""

from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from lora_core.images.png import png_bytes
from lora_core.redraw.judgement import Code, Judgement, Selection
from lora_core.redraw.scenes import Scene
from lora_core.report.redrawn import selection_sheet
from lora_core.store import Store

_RED = (255, 0, 0)


@pytest.mark.parametrize("code", get_args(Code))
def test_every_picture_is_on_the_sheet_whatever_became_of_it(tmp_path: Path, code: Code) -> None:
    store = Store(tmp_path)
    image = store.put_bytes(png_bytes(Image.new("RGB", (64, 64), _RED)))
    scene = Scene(framing="portrait", clothes="", pose="", place="", prompt="momo", seed=1)
    one = Judgement(
        name="redrawn-001", image=image, width=64, height=64, scene=scene, composition="portrait", code=code,
        values=("cat_ears", "0.80", "0.5"),
    )  # fmt: skip
    drawn = selection_sheet(store, Selection(pictures=(one,), wanted=1, scores={}))
    reds = [color for color in drawn.getcolors(1 << 20) or () if color[1] == _RED]
    assert reds, f"a picture that is {code!r} has no group of its own"
