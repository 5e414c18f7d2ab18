"""Can what a command is to write be written there? Asked before any work is done."""

import os
from pathlib import Path

from lora_core.errors import OutputExistsError, StoreError
from lora_core.printable import clipped
from lora_core.store.files import NAME_BYTES

_MODEL_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx", ".gguf", ".sft")


def check_out_folder(folder: Path) -> None:
    """Look whether a folder can be written, or made.

    Raises:
        OutputExistsError: a file has its name, or that of a folder above it.
        StoreError: it may not be written, or its name is too long.
    """
    check_length(folder)
    here = folder.expanduser().absolute()
    there = next(path for path in (here, *here.parents) if os.path.lexists(path))
    if not there.is_dir():
        what = "a link to nothing" if not there.exists() else "a file"
        raise OutputExistsError(f"{there}: {what}, and a folder is to be written; choose another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise StoreError(f"{there}: cannot be written (no permission, or a read-only disk); choose another folder")


def check_out_file(file: Path, kind: str = "") -> None:
    """Look whether a file can be written.

    Args:
        file: its path.
        kind: what kind of model file it will be, such as .safetensors; empty: it is none.

    Raises:
        OutputExistsError: a folder has its name, or a file that of a folder above it.
        StoreError: its folder may not be written, or its name is too long or that of another kind.
    """
    check_length(file)
    if file.is_dir():
        raise OutputExistsError(f"{file}: a folder, and a file is to be written; give it a name, {file / 'NAME'}")
    if kind and (ending := file.suffix.lower()) in _MODEL_FILES and ending != kind:
        raise StoreError(
            f"{file}: its name ends in {file.suffix}, and a {kind} file is to be written; end it in {kind}"
        )
    check_out_folder(file.parent)


def check_length(path: Path) -> None:
    """Refuse a path that no disk has.

    Raises:
        StoreError: a name in it is too long.
    """
    name = max(path.parts, key=_bytes, default="")
    if (taken := _bytes(name)) > NAME_BYTES:
        raise StoreError(f"{clipped(name, 40)}: a name of {taken} bytes; file systems take {NAME_BYTES}; shorten it")


def _bytes(name: str) -> int:
    return len(os.fsencode(name))
