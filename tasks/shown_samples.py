"""The newest pictures of a training as a page in Prefect's UI, replaced as epochs come."""

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image

_SIDE_PX = 320
_QUALITY = 80


def newest_samples(folder: Path) -> str:
    """The newest epoch that is drawn, and the base beside it, as Markdown; empty: nothing is drawn yet.

    Args:
        folder: of the training's curves; `samples/` in it holds `epoch-0001-01.png` …, `base-01.png` ….
    """
    drawn = sorted((folder / "samples").glob("epoch-*.png"))
    if not drawn:
        return ""
    epoch = drawn[-1].stem.rpartition("-")[0]
    rows = [
        f"**{title}**\n\n" + " ".join(_picture(path) for path in sorted((folder / "samples").glob(f"{name}-*.png")))
        for title, name in ((epoch.replace("-", " "), epoch), ("base", "base"))
    ]
    return "\n\n".join(rows)


def _picture(path: Path) -> str:
    with Image.open(path) as opened:
        small = opened.convert("RGB")
    small.thumbnail((_SIDE_PX, _SIDE_PX))
    data = BytesIO()
    small.save(data, "JPEG", quality=_QUALITY)
    return f'<img width="200" src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}">'
