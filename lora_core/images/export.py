"""A set of pictures as a folder that people look at: pictures, composition.csv, report.json, contact sheets."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lora_core.dataset import Manifest
from lora_core.errors import OutputExistsError
from lora_core.images.collect import REPORT_NAME
from lora_core.images.composition import LIST_NAME
from lora_core.images.coverage import coverage, warnings
from lora_core.images.parallel import in_parallel
from lora_core.recipe import ShotPlan
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of, file_digest
from lora_core.store.files import write_atomically


def report(manifest: Manifest, plan: ShotPlan) -> dict[str, Any]:
    """Every file that was found, accepted or left out, with every reason, as plain JSON data.

    `review` names what a person should look at, `coverage` what there is of each composition and view.
    """
    found = coverage(plan, {"pictures": manifest})
    return {
        "files": {"accepted": len(manifest.entries), "left_out": len(manifest.rejected)},
        "review": [
            {"source": entry.source, "name": entry.name, "flags": entry.flag_texts or ("composition unknown",)}
            for entry in manifest.entries
            if entry.flags or entry.composition is None
        ],
        "coverage": {**found.model_dump(mode="json"), "warnings": warnings(found)},
        "accepted": [
            {**entry.model_dump(mode="json", exclude={"caption"}), "flags": entry.flag_texts}
            for entry in manifest.entries
        ],
        "rejected": [one.model_dump(mode="json") for one in manifest.rejected],
    }


def write_pictures(store: Store, manifest: Manifest, folder: Path, plan: ShotPlan, sheets: Mapping[str, bytes]) -> None:
    """Write every picture as NAME.png, with composition.csv (so that the folder can be read again) and report.json.

    Files that an earlier call wrote there, and that nobody has changed since, are brought up to date: replaced, or
    removed where their picture is no longer in the set. Anything else stays as it is.

    Args:
        store: where the pictures are; it remembers what was written.
        manifest: the set.
        folder: made if need be.
        plan: what the report compares the set with.
        sheets: contact sheets by their names in the folder.

    Raises:
        OutputExistsError: a name is taken by a file that is not from here, or was changed; nothing is written then.
    """
    small = {
        LIST_NAME: _listing(manifest),
        REPORT_NAME: (json.dumps(report(manifest, plan), indent=1, ensure_ascii=False) + "\n").encode(),
        **sheets,
    }
    wanted = {f"{entry.name}.png": entry.image for entry in manifest.entries}
    wanted |= {name: digest_of(data) for name, data in small.items()}
    written = _Written.read(store, folder)
    stale = [name for name in wanted if written.digest(name) != wanted[name]]
    for name in stale:
        if (folder / name).exists() and not written.is_ours(name):
            raise OutputExistsError(
                f"{folder / name}: exists with other bytes and is not overwritten; choose another folder"
            )

    def write(name: str) -> None:
        write_atomically(folder / name, small[name] if name in small else store.get_bytes(wanted[name]))

    for _ in in_parallel(write, stale):
        pass
    for name in written.names() - set(wanted):
        if written.is_ours(name):
            (folder / name).unlink(missing_ok=True)
    _Written.keep(store, folder, wanted)


class _Written:
    """What an earlier call wrote into a folder: name → digest, size in bytes, time of change."""

    def __init__(self, folder: Path, known: Mapping[str, tuple[str, int, int]]) -> None:
        self._folder, self._known = folder, known

    @classmethod
    def read(cls, store: Store, folder: Path) -> "_Written":
        return cls(folder, store.record(_key(folder), dict[str, tuple[str, int, int]]) or {})

    @staticmethod
    def keep(store: Store, folder: Path, digests: Mapping[str, str]) -> None:
        facts = {name: [sha256, *_fact(folder / name)] for name, sha256 in digests.items()}
        store.set_record(_key(folder), facts)

    def names(self) -> set[str]:
        return set(self._known)

    def digest(self, name: str) -> str:
        """Of the file as it is now, without reading it if it was not touched since; empty if there is none."""
        path = self._folder / name
        if not path.exists():
            return ""
        sha256, *fact = self._known.get(name, ("", 0, 0))
        return sha256 if fact == _fact(path) else file_digest(path)

    def is_ours(self, name: str) -> bool:
        """Whether the file still has the bytes that were written."""
        return name in self._known and self.digest(name) == self._known[name][0]


def _key(folder: Path) -> str:
    return digest_of(canonical_json(["written", str(folder.absolute())]))


def _fact(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _listing(manifest: Manifest) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "composition"))
    writer.writerows((f"{entry.name}.png", entry.composition) for entry in manifest.entries if entry.composition)
    return text.getvalue().encode()
