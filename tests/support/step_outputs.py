"""What each step of a finished run put out, in a form that is the same on every machine."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import safe_open

from lora_core.refs import Ref
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of

# Their pictures and captions depend on no processor. The others compute with floats whose last bits do.
EXACT = ("preprocess", "caption", "downscale")


def outputs_of(store: Store) -> dict[str, str]:
    """Digest of what each step put out: of its bytes for steps in EXACT, else of its files, keys, shapes and types."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in store.root.glob("records/??/*.json"):
        value = json.loads(path.read_bytes())["value"]
        if isinstance(value, dict) and "ref" in value:
            step, ref = value["step"], Ref.model_validate(value["ref"])
            form = ref.sha256 if step in EXACT else digest_of(canonical_json(_form(store, ref)))
            found[step].append(form)
    return {step: digest_of(canonical_json(sorted(forms))) for step, forms in found.items()}


def _form(store: Store, ref: Ref) -> object:
    if ref.kind in ("tags", "dataset"):
        return _keys(store.get_json(ref.sha256), 1)
    return {name: _form_of_file(path, name) for name, path in store.tree(ref.sha256).items()}


def _form_of_file(path: Path, name: str) -> object:
    if name.endswith(".safetensors"):
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            shapes = {key: [file.get_slice(key).get_dtype(), *file.get_slice(key).get_shape()] for key in keys}
            return [shapes, sorted(file.metadata() or {})]
    if name.endswith(".json"):
        return _keys(json.loads(path.read_bytes()), 2)
    if name.endswith(".png"):
        with Image.open(path) as picture:
            return [picture.mode, *picture.size, sorted(picture.info)]
    return "there"


def _keys(value: Any, depth: int) -> object:
    """Names of fields down to a depth: further down a report has tags for names, and which ones depends on scores."""
    if isinstance(value, Mapping):
        return {name: _keys(each, depth - 1) for name, each in value.items()} if depth else "mapping"
    if isinstance(value, list):
        return "list"
    return "number" if isinstance(value, int | float) else type(value).__name__
