"""Whether an object's bytes are still those of its name."""

from pathlib import Path

from lora_core.errors import DamagedError
from lora_core.steady import file_fact

# Our objects whose bytes this process has compared with their names: gigabytes are not read twice.
_sound: set[tuple[object, ...]] = set()


def is_sound(path: Path) -> bool:
    """Whether this process has seen that the bytes are those of the name."""
    return tuple(file_fact(path).values()) in _sound


def seen_sound(path: Path) -> None:
    """The bytes are those of the name, as long as the file stays what it is."""
    _sound.add(tuple(file_fact(path).values()))


def remove_damaged(path: Path, sha256: str) -> None:
    """Remove an object whose bytes are not what its name says.

    Raises:
        DamagedError: they are not.
    """
    if sha256 != path.name:
        path.unlink(missing_ok=True)
        raise DamagedError(f"{path}: was damaged on disk, and is removed; the same command makes it again")
