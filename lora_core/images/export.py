"""A set of pictures as a folder that people look at: pictures, composition.csv, report.json."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

from lora_core.dataset import Manifest
from lora_core.errors import OutputExistsError
from lora_core.images.collect import REPORT_NAME
from lora_core.images.composition import LIST_NAME
from lora_core.recipe import COMPOSITIONS
from lora_core.store import Store, canonical_json, write_atomically


def report(manifest: Manifest) -> dict[str, Any]:
    """What was accepted and what was left out, with every reason, as plain JSON data."""
    counts: Counter[str] = Counter(entry.composition or "unknown" for entry in manifest.entries)
    return {
        "accepted": [entry.model_dump(mode="json", exclude={"caption"}) for entry in manifest.entries],
        "rejected": [one.model_dump(mode="json") for one in manifest.rejected],
        "compositions": {name: counts[name] for name in (*COMPOSITIONS, "unknown")},
    }


def write_pictures(store: Store, manifest: Manifest, folder: Path) -> None:
    """Write every picture as NAME.png, with composition.csv (so that the folder can be read again) and report.json.

    Raises:
        OutputExistsError: a name is taken by other bytes; nothing is written then.
    """
    files = {f"{entry.name}.png": store.get_bytes(entry.image) for entry in manifest.entries}
    files[LIST_NAME] = _listing(manifest)
    files[REPORT_NAME] = canonical_json(report(manifest))
    for name, data in files.items():
        path = folder / name
        if path.exists() and path.read_bytes() != data:
            raise OutputExistsError(f"{path}: exists with other bytes and is not overwritten; choose another folder")
    for name, data in files.items():
        if not (folder / name).exists():
            write_atomically(folder / name, data)


def _listing(manifest: Manifest) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "composition"))
    writer.writerows((f"{entry.name}.png", entry.composition) for entry in manifest.entries if entry.composition)
    return text.getvalue().encode()
