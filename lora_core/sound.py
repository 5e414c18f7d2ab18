"""Whether a file's bytes are still those that the store knows it by."""

from pathlib import Path

from lora_core.steady import file_fact

# Files whose bytes this process has compared with their digest: gigabytes are not read twice.
_sound: set[tuple[object, ...]] = set()


def is_sound(path: Path, sha256: str) -> bool:
    """Whether this process has seen that the bytes are those of the digest."""
    return (sha256, *file_fact(path).values()) in _sound


def seen_sound(path: Path, sha256: str) -> None:
    """The bytes are those of the digest, as long as the file stays what it is."""
    _sound.add((sha256, *file_fact(path).values()))
