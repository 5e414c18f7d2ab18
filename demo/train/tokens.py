"""A small CLIP tokenizer: byte pairs learned from the world's own tags."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Final

from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from demo.world.tags import VOCABULARY

MAX_TOKENS: Final = 77
_BOS: Final = "<|startoftext|>"
_EOS: Final = "<|endoftext|>"
_END: Final = "</w>"

Pair = tuple[str, str]


def write_tokenizer(folder: Path) -> CLIPTokenizer:
    """Writes the four files of a CLIP tokenizer into `folder` and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = _byte_pairs(_words())
    (folder / "vocab.json").write_text(
        json.dumps({token: k for k, token in enumerate(vocabulary)}, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    special = {"bos_token": _BOS, "eos_token": _EOS, "unk_token": _EOS, "pad_token": _EOS}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    settings = {
        **special,
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_TOKENS,
        "do_lower_case": True,
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    return CLIPTokenizer.from_pretrained(folder)


def _words() -> tuple[str, ...]:
    """Returns the runs of letters, digits and marks in all tags, as the tokenizer splits them."""
    text = ", ".join(tag.replace("_", " ") for tag in VOCABULARY)
    pieces = CLIPTokenizer(vocab=None).backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    return tuple(dict.fromkeys(piece for piece, _ in pieces))


def _byte_pairs(words: tuple[str, ...]) -> tuple[list[str], list[Pair]]:
    """Returns tokens in order and merges in order; every word ends up as one token."""
    letters = list(bytes_to_unicode().values())
    split = [[*word[:-1], word[-1] + _END] for word in words]
    merges: list[Pair] = []
    while pairs := Counter(pair for word in split for pair in pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        split = [_merged(word, best) for word in split]
    tokens = [*letters, *(letter + _END for letter in letters), *(a + b for a, b in merges)]
    return [*dict.fromkeys(tokens), _BOS, _EOS], merges


def _merged(word: list[str], pair: Pair) -> list[str]:
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return out
