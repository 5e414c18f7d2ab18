"""What Prefect's UI shows of a training: the newest epoch, small, the base beside it, and the loss so far."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from lora_core.training.curves import Curves, Figures
from tasks.shown_progress import training_page


def test_only_the_newest_epoch_is_shown_and_the_base_beside_it(tmp_path: Path) -> None:
    assert training_page(tmp_path) == ""
    folder = tmp_path / "samples"
    folder.mkdir()
    for name, colour in (("base-01", "white"), ("epoch-0002-01", "red"), ("epoch-0010-01", "blue")):
        Image.new("RGB", (512, 768), colour).save(folder / f"{name}.png")
    page = training_page(tmp_path)
    assert re.findall("<th>(.*?)</th>", page) == ["epoch 0010", "base"]
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]
    assert [picture.size for picture in pictures] == [(213, 320), (213, 320)]
    assert pictures[0].getpixel((5, 5))[2] > 250  # type: ignore[index]
    assert pictures[0].getpixel((5, 5))[0] < 5  # type: ignore[index]
    assert min(pictures[1].getpixel((5, 5))) > 250  # type: ignore[arg-type]


def test_the_loss_grows_and_its_first_means_of_a_few_steps_are_left_out(tmp_path: Path) -> None:
    curves = Curves(tmp_path, steps=0)
    shown = []
    for step in range(1, 441):
        curves.add(Figures(step, 1, 0.5, 1.0 / step, 1.0, 1.0, 1e-4, 0.0, 1.0))
        if step in (2, 110, 440):
            shown.append(_svg(training_page(tmp_path)))
    curves.close()
    before, middle, last = shown
    assert before == ""  # two steps are no curve
    assert "steps 28 to 110" in middle
    assert "steps 100 to 440" in last
    assert len(re.findall(r"[\d.]+,[\d.]+", last.rpartition("points")[2])) == 341


def _svg(page: str) -> str:
    found = re.search(r"svg\+xml;base64,([^\"]+)", page)
    return base64.b64decode(found[1]).decode() if found else ""
