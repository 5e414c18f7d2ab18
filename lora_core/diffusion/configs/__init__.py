"""Configs of the models inside a single file: the architecture's own ones, corrected by the shapes in the file."""

from lora_core.diffusion.configs.infer import original_configs, own_configs

__all__ = ["original_configs", "own_configs"]
