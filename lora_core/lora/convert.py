"""A LoRA file between the two namings: sd-scripts', which web UIs read, and diffusers', whose modules are peft's.

The matrices are the same to the bit. What is in `.alpha` tensors there is in the metadata here, as diffusers'
`save_lora_weights` writes it since 0.35: earlier versions ignore it, and would draw with alpha = rank.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lora_core.errors import LoraError
from lora_core.lora.file import ADAPTER_METADATA, OpenLora, add_module, open_lora
from lora_core.lora.module import without_mid
from lora_core.lora.naming import Module, module_table
from lora_core.lora.tensor_files import SafetensorsWriter, new_output
from lora_core.progress import Progress

Naming = Literal["kohya", "diffusers"]
_HASHES = ("sshs_legacy_hash", "sshs_model_hash", "modelspec.hash_sha256")


def convert(source: Path, out: Path, naming: Naming, progress: Progress, name: str = "") -> int:
    """Write a LoRA file in a naming; one that has it already is written as this tool writes it.

    Args:
        source: the file, in either naming.
        out: the file to write.
        naming: "kohya" for web UIs, "diffusers" for diffusers and peft.
        progress: called after every module.
        name: what the user calls the file; the path if empty.

    Returns:
        How many modules there are.

    Raises:
        LoraError: the file is not readable, or diffusers has no such module.
        OutputExistsError: `out` is there with other bytes.
        StoreError: the disk is full or not writable.
    """
    lora = open_lora(source, name)
    if not lora.is_plain and not (naming == "kohya" and lora.diffusers_naming):
        raise LoraError(_not_converted(lora, naming))
    left_out = (*_HASHES, ADAPTER_METADATA, "format")
    metadata = {key: value for key, value in lora.metadata.items() if key not in left_out}
    known = _known_modules(lora) if naming == "diffusers" else {}
    if known:
        metadata |= {ADAPTER_METADATA: json.dumps(_adapter_metadata(lora, known), sort_keys=True), "format": "pt"}
    with new_output(out) as made, SafetensorsWriter(made, str(out)) as writer:
        for done, module in enumerate(sorted(lora.modules), 1):
            found = lora.read(module)
            if naming == "kohya":
                add_module(writer, module, found, found.dtype)
            else:
                prefix, found = ".".join(known[module]), without_mid(found)
                writer.add(f"{prefix}.lora_A.weight", found.down)
                writer.add(f"{prefix}.lora_B.weight", found.up)
            progress(done, len(lora.modules), module)
        writer.write(metadata, hashes=naming == "kohya")
    return len(lora.modules)


def _not_converted(lora: OpenLora, naming: Naming) -> str:
    if naming == "kohya":
        return f"{lora.name}: this is {lora.title} in kohya's naming already"
    if any(each.changes_vector for each in lora.modules.values()):
        way = "merge it into its base (headcanon merge)"
    elif any(each.decomposed for each in lora.modules.values()):
        way = "merge it into its base (headcanon merge) and take the difference (headcanon lora extract)"
    else:
        way = "make a plain LoRA of it first (headcanon lora resize --rank)"
    return f"{lora.name}: this is {lora.title}, which diffusers has no names for; {way}"


def _known_modules(lora: OpenLora) -> dict[str, Module]:
    """sd-scripts' name → the module of the base.

    Raises:
        LoraError: it is no module of Stable Diffusion.
    """
    table = module_table()
    if unknown := [name for name in lora.modules if name not in table]:
        raise LoraError(
            f"{lora.name}: {len(unknown)} of its {len(lora.modules)} modules are none of Stable Diffusion 1, 2 or XL "
            f"({', '.join(unknown[:3])}), so diffusers has no name for them"
        )
    return {name: table[name] for name in lora.modules}


def _adapter_metadata(lora: OpenLora, known: Mapping[str, Module]) -> dict[str, Any]:
    """peft's LoraConfig of every part: the commonest rank and alpha, and patterns for the modules that differ.

    A text encoder's modules are named without `text_model`, which older transformers have and newer do not: peft takes
    the end of a path for the whole.
    """
    found: dict[str, Any] = {}
    for part in sorted({module.part for module in known.values()}):
        modules = {
            module.path.removeprefix("text_model."): lora.modules[name]
            for name, module in known.items()
            if module.part == part
        }
        ranks = {path: module.rank for path, module in modules.items()}
        alphas = {
            path: float(module.rank) if module.alpha is None else module.alpha for path, module in modules.items()
        }
        rank, alpha = (Counter(numbers.values()).most_common(1)[0][0] for numbers in (ranks, alphas))
        found |= {
            f"{part}.r": rank,
            f"{part}.lora_alpha": alpha,
            f"{part}.rank_pattern": {path: each for path, each in ranks.items() if each != rank},
            f"{part}.alpha_pattern": {path: each for path, each in alphas.items() if each != alpha},
            f"{part}.target_modules": sorted(modules),
        }
    return found
