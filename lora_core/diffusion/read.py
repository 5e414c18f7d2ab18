"""What a base model's files are, without loading them."""

from collections.abc import Mapping
from pathlib import Path

from lora_core.diffusion.folder import folder_source
from lora_core.diffusion.single_file import single_source
from lora_core.diffusion.source import Source
from lora_core.errors import CheckpointError
from lora_core.recipe import Process


def read_source(files: Mapping[str, Path], process: Process | None = None) -> Source:
    """Look at a base model: a few milliseconds, no torch.

    Args:
        files: relative name → where the bytes are. One name without a folder is a single file in the original layout;
            otherwise they are those of a diffusers folder.
        process: what the recipe says of the diffusion process; None: what the model says itself.

    Raises:
        CheckpointError: a part is missing, a file is broken, or the model is of a kind that cannot be used.
    """
    if not files:
        raise CheckpointError(
            "the base model has no files; name a .safetensors file, a diffusers folder or a repository"
        )
    told, name = process or Process(), next(iter(files))
    if len(files) == 1 and "/" not in name and not name.endswith(".json"):
        return single_source(files[name], name, told)
    return folder_source(files, told)
