"""What Prefect's UI shows of a training's pictures: the newest epoch, small, and the base beside it."""

import base64
import io
import re
from pathlib import Path

from PIL import Image

from tasks.shown_progress import newest_samples


def test_only_the_newest_epoch_is_shown_and_the_base_beside_it(tmp_path: Path) -> None:
    assert newest_samples(tmp_path) == ""
    folder = tmp_path / "samples"
    folder.mkdir()
    for name, colour in (("base-01", "white"), ("epoch-0002-01", "red"), ("epoch-0010-01", "blue")):
        Image.new("RGB", (512, 768), colour).save(folder / f"{name}.png")
    page = newest_samples(tmp_path)
    assert page.startswith("**epoch 0010**")
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]
    assert [picture.size for picture in pictures] == [(213, 320), (213, 320)]
    assert pictures[0].getpixel((5, 5))[2] > 250  # type: ignore[index]
    assert pictures[0].getpixel((5, 5))[0] < 5  # type: ignore[index]
    assert min(pictures[1].getpixel((5, 5))) > 250  # type: ignore[arg-type]
