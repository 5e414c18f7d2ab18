"""CLIP's tokenizer: from a folder's files, or from the vocabulary that ships with the project."""

import functools
import gzip
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from transformers import CLIPTokenizer

from lora_core.captions.emphasis import literal
from lora_core.diffusion.chunks import chunked
from lora_core.errors import CheckpointError

_BPE = Path(__file__).with_name("configs") / "bpe_simple_vocab_16e6.txt.gz"
_MERGES = 49152 - 256 - 2
"""CLIP uses the first 48,894 merges of the file: 512 bytes and word-ending bytes, the merges, 2 marks = 49,408."""
_START, _END = "<|startoftext|>", "<|endoftext|>"
_LENGTH = 77


@functools.cache
def shipped_tokenizer(*, pad_zero: bool) -> CLIPTokenizer:
    """CLIP's tokenizer with OpenAI's vocabulary, 49,408 entries. The same one every time: nobody may change it.

    Args:
        pad_zero: whether short prompts are filled with "!" (id 0), as open_clip does, rather than with the end mark.
    """
    vocabulary, merges = clip_vocabulary()
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": _LENGTH,
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": "!" if pad_zero else _END,
    }
    with tempfile.TemporaryDirectory(prefix="headcanon-") as folder:
        there = Path(folder)
        (there / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
        (there / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")
        (there / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
        return _open(there)


@functools.cache
def token_counter() -> Callable[[str], int]:
    """Counts the tokens that CLIP makes of a text, as web UIs do: a chunk of 75 that a comma ends early counts 75."""
    tokenizer = shipped_tokenizer(pad_zero=False)
    return lambda text: chunked(tokenizer, literal(text)).tokens


def folder_tokenizer(files: Mapping[str, Path], part: str) -> CLIPTokenizer:
    """The tokenizer of a diffusers folder, from its subfolder `part`.

    Raises:
        CheckpointError: vocab.json or merges.txt is missing or broken.
    """
    names = [name for name in files if name.startswith(f"{part}/")]
    needed = () if f"{part}/tokenizer.json" in names else (f"{part}/vocab.json", f"{part}/merges.txt")
    for name in needed:
        if name not in names:
            raise CheckpointError(f"base model: {name} is missing; it is no whole diffusers folder")
    with tempfile.TemporaryDirectory(prefix="headcanon-") as folder:
        for name in names:
            shutil.copyfile(files[name], Path(folder) / Path(name).name)
        try:
            return _open(Path(folder))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise CheckpointError(f"base model: {part} is no CLIP tokenizer ({error})") from error


def _open(folder: Path) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    if tokenizer.model_max_length > _LENGTH:
        tokenizer.model_max_length = _LENGTH
    return tokenizer


@functools.cache
def clip_vocabulary() -> tuple[dict[str, int], tuple[str, ...]]:
    """Token → id, and the merges in order, from open_clip's file (MIT; see the licence beside it).

    The order of ids is that of CLIP's `SimpleTokenizer`: the 256 bytes, the 256 bytes that end a word, one token a
    merge, the two marks.
    """
    with gzip.open(_BPE, "rt", encoding="utf-8") as file:
        merges = tuple(line.strip() for line in file.read().split("\n")[1 : _MERGES + 1])
    letters = _byte_letters()
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    return {token: number for number, token in enumerate([*tokens, _START, _END])}, merges


def _byte_letters() -> list[str]:
    """A printable letter for each byte, in CLIP's order: printable Latin-1, then from U+0100 on (as GPT-2)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + number) for number in range(others)]
