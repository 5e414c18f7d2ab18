"""The network door: where base models and taggers come from, and what the files that come through it are."""

from lora_core.hub.find import find_model_files, find_tagger_files

__all__ = ["find_model_files", "find_tagger_files"]
