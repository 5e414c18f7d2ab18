"""A LoRA file between the two namings: sd-scripts', which web UIs read, and diffusers', whose modules are peft's.

The matrices are the same to the bit. What is in `.alpha` tensors there is in the metadata here, as diffusers'
`save_lora_weights` writes it since 0.35: earlier versions do not look there, and would draw with alpha = rank.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lora_core.errors import LoraError
from lora_core.hub.layout import Part
from lora_core.lora.adapter_file import OpenAdapters, open_any
from lora_core.lora.algebra import without_mid
from lora_core.lora.file import OpenLora, add_module
from lora_core.lora.names import module_places
from lora_core.lora.parts import ADAPTER_METADATA
from lora_core.lora.settle import settling
from lora_core.lora.spool import Spool
from lora_core.progress import Progress

Naming = Literal["kohya", "diffusers"]
_HASHES = ("sshs_legacy_hash", "sshs_model_hash", "modelspec.hash_sha256")


def convert(source: Path, out: Path, naming: Naming, progress: Progress, name: str = "") -> int:
    """Write a LoRA file in a naming; one that has it already is written as this tool writes it.

    Args:
        source: the file, in either naming.
        out: the file to write.
        naming: "kohya" for web UIs, "diffusers" for diffusers and peft.
        progress: told after every module.
        name: what the user calls the file; the path if empty.

    Returns:
        How many modules there are.

    Raises:
        LoraError: the file is not readable, or diffusers has no such module.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    lora = open_any(source, name)
    if isinstance(lora, OpenAdapters):
        raise LoraError(_not_converted(lora, naming))
    left_out = (*_HASHES, ADAPTER_METADATA, "format")
    metadata = {key: value for key, value in lora.metadata.items() if key not in left_out}
    places = _places(lora) if naming == "diffusers" else {}
    if places:
        metadata |= {ADAPTER_METADATA: json.dumps(_adapter_metadata(lora, places), sort_keys=True), "format": "pt"}
    with settling(out) as made, Spool(made, str(out)) as spool:
        for done, module in enumerate(sorted(lora.parts), 1):
            found = lora.read(module)
            if naming == "kohya":
                add_module(spool, module, found, found.dtype)
            else:
                part, inner = places[module]
                found = without_mid(found)
                spool.add(f"{part}.{inner}.lora_A.weight", found.down)
                spool.add(f"{part}.{inner}.lora_B.weight", found.up)
            progress(done, len(lora.parts), module)
        spool.write(metadata, hashes=naming == "kohya")
    return len(lora.parts)


def _not_converted(lora: OpenAdapters, naming: Naming) -> str:
    if naming == "kohya":
        return f"{lora.name}: this is {lora.words} in kohya's naming already"
    if any(each.decomposed for each in lora.parts.values()):
        way = "merge it into its base (headcanon merge) and take the difference (headcanon lora extract)"
    else:
        way = "make a plain LoRA of it first (headcanon lora resize --rank)"
    return f"{lora.name}: this is {lora.words}, which diffusers has no names for; {way}"


def _places(lora: OpenLora) -> dict[str, tuple[Part, str]]:
    """Module → the model's part and the module's path.

    Raises:
        LoraError: it is no module of Stable Diffusion.
    """
    known = module_places()
    if unknown := [module for module in lora.parts if module not in known]:
        raise LoraError(
            f"{lora.name}: {len(unknown)} of its {len(lora.parts)} modules are none of Stable Diffusion 1, 2 or XL "
            f"({', '.join(unknown[:3])}), so diffusers has no name for them"
        )
    return {module: known[module] for module in lora.parts}


def _adapter_metadata(lora: OpenLora, places: Mapping[str, tuple[Part, str]]) -> dict[str, Any]:
    """peft's LoraConfig of every part: the commonest rank and alpha, and patterns for the modules that differ.

    A text encoder's modules are named without `text_model`, which older transformers have and newer do not: peft takes
    the end of a path for the whole.
    """
    found: dict[str, Any] = {}
    for part in sorted({part for part, _ in places.values()}):
        modules = {path.removeprefix("text_model."): name for name, (of, path) in places.items() if of == part}
        ranks = {path: lora.parts[name].rank for path, name in modules.items()}
        alphas = {path: _alpha(lora, name) for path, name in modules.items()}
        rank, alpha = (Counter(numbers.values()).most_common(1)[0][0] for numbers in (ranks, alphas))
        found |= {
            f"{part}.r": rank,
            f"{part}.lora_alpha": alpha,
            f"{part}.rank_pattern": {path: each for path, each in ranks.items() if each != rank},
            f"{part}.alpha_pattern": {path: each for path, each in alphas.items() if each != alpha},
            f"{part}.target_modules": sorted(modules),
        }
    return found


def _alpha(lora: OpenLora, module: str) -> float:
    alpha = lora.alphas[module]
    return float(lora.parts[module].rank) if alpha is None else alpha
