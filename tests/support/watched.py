"""Folders of characters with an inbox that looks at them, and a clock."""

from pathlib import Path

from PIL import Image

from flows.inbox import MEMORY, Change, Inbox
from lora_core.store import Store

QUIET = 600.0


class Watched:
    """An inbox with a clock."""

    def __init__(self, root: Path) -> None:
        self.folder, self.store = root / "characters", Store(root / "store")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.now = 2_000_000_000.0
        self.refused: list[tuple[str, str]] = []

    def picture(self, name: str, colour: int = 0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (colour, 0, 0)).save(path)
        return path

    def inbox(self) -> Inbox:
        """As a new process has it."""
        return Inbox(self.folder, self.store, self.store.root / MEMORY, lambda *told: self.refused.append(told))

    def look(self, after_seconds: float = 0.0, *, start: bool = True) -> list[Change]:
        """A look as a new process would take it; `start`: and the runs are started."""
        self.now += after_seconds
        inbox = self.inbox()
        found = []
        for change in inbox.changes(QUIET, self.now):
            found.append(change)
            if start:
                inbox.done(change)
        return found
