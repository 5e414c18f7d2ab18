"""Which family a base model is of, as far as its tensors, its names, its metadata and known hashes tell.

Tensors tell the architecture, mostly the prediction and whether the last timestep is pure noise; nothing in them tells
Pony from Illustrious. So names, metadata and hashes are asked, in this order, and where none of them knows the family
the plainest preset that fits the tensors is taken, and that is said.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lora_core.bases.presets import BasePreset, base_preset, base_presets
from lora_core.bounded import TEXT_BYTES, json_of, read_bounded
from lora_core.diffusion.read import read_source
from lora_core.diffusion.source import Source
from lora_core.errors import CheckpointError
from lora_core.hub.find import own_files
from lora_core.hub.formats import read_header
from lora_core.recipe import Base, Process
from lora_core.refs import CheckpointRef
from lora_core.store import Store
from lora_core.store.digests import file_digest

_PLAIN = {
    ("sd1", "epsilon"): "sd15", ("sd1", "v_prediction"): "sd15", ("sd2", "epsilon"): "sd2",
    ("sd2", "v_prediction"): "sd2-v", ("sdxl", "epsilon"): "sdxl", ("sdxl", "v_prediction"): "noobai-v",
}  # fmt: skip
_TOLD = ("modelspec.title", "modelspec.merged_from", "sd_merge_recipe", "sd_merge_models", "ss_sd_model_name")
_V_MARKS = ("vpred", "v-pred", "v_pred")
_CONFIGS = ("model_index.json", "unet/config.json")


_KINDS = {"sd1": "SD1", "sd2": "SD2", "sdxl": "SDXL"}


class Lineage(NamedTuple):
    """A base model and the preset whose numbers fit it."""

    preset: BasePreset
    source: Source
    reason: str
    """How the family is known; where `assumed`, that it is not."""
    assumed: bool = False
    doubt: str = ""
    """What its name says and it does not."""

    @property
    def line(self) -> str:
        """What is known of the base, and how, in one line."""
        assumed = ", so the plainest is assumed" if self.assumed else ""
        return f"{kind_of(self.source)}; taken for {self.preset.title}: {self.reason}{assumed}{self.doubt}"


def find_lineage(
    files: Mapping[str, Path],
    name: str,
    digest: Callable[[Path], str] = file_digest,
    process: Process | None = None,
    *,
    deep: bool = True,
) -> Lineage:
    """Tell a base model's family.

    Args:
        files: of the base, from `find_model_files`.
        name: what the user calls it: a path or a repository.
        digest: SHA-256 of one of the files.
        process: what a recipe says of it. That it predicts v is believed, for such a model does not always say so.
        deep: compare the SHA-256 of a single file where nothing else tells; reads all of it.

    Raises:
        CheckpointError: the base cannot be read.
    """
    source = read_source(files, process if process and process.prediction == "v_prediction" else None)
    files = own_files(files)
    doubt = _doubt(source, _own_name(files, name))
    fitting = [preset for preset in base_presets() if _fits(preset, source)]
    for preset in _most_particular(fitting):
        for where, text in (("name", _own_name(files, name)), *_metadata(files)):
            if found := next((known for known in preset.names if known in text.lower()), ""):
                return Lineage(preset, source, f"its {where} holds '{found}'", doubt=doubt)
    if deep and len(files) == 1:
        known = digest(next(iter(files.values())))
        for preset in fitting:
            if known in preset.hashes:
                return Lineage(preset, source, f"its SHA-256 begins with {known[:10]}, which is known", doubt=doubt)
    reason = "nothing in its name, its metadata or its hash tells its family"
    return Lineage(_plainest(source), source, reason, assumed=True, doubt=doubt)


def stored_lineage(store: Store, base: CheckpointRef, options: Base) -> Lineage:
    """As `find_lineage`, of a recipe's base in the store, which knows every hash already."""
    return find_lineage(store.tree(base.sha256, checked=False), options.model, store.digest_of_file, options.process)


def _doubt(source: Source, name: str) -> str:
    if source.prediction != "epsilon" or not any(mark in name.lower() for mark in _V_MARKS):
        return ""
    return (
        "; its name says v-prediction and nothing else in it does: if it does predict v, write "
        'prediction = "v_prediction" under [base], or take --preset noobai-v for SDXL'
    )


def choices(source: Source) -> tuple[BasePreset, ...]:
    """The presets that fit what a base says of itself; where none does (SD1 that predicts v), the plainest."""
    return tuple(preset for preset in base_presets() if _fits(preset, source)) or (_plainest(source),)


def is_meant(preset: BasePreset, source: Source) -> bool:
    """Whether a person may name a preset for a base: a model that predicts v does not always say so."""
    may_be_v = source.prediction == "epsilon" and preset.prediction == "v_prediction"
    return preset in choices(source) or (may_be_v and preset.architecture == source.architecture)


def _plainest(source: Source) -> BasePreset:
    return base_preset(_PLAIN[source.architecture, source.prediction])


def _fits(preset: BasePreset, source: Source) -> bool:
    return (preset.architecture, preset.prediction) == (source.architecture, source.prediction)


def _most_particular(presets: Iterable[BasePreset]) -> list[BasePreset]:
    """Those that were made from others first: NoobAI's files may be called after Illustrious too."""
    order = ("noobai", "noobai-v", "pony", "animagine", "illustrious", "sd15-nai")
    return sorted(presets, key=lambda preset: order.index(preset.name) if preset.name in order else len(order))


def _own_name(files: Mapping[str, Path], name: str) -> str:
    """The file's or folder's own name and, for a repository, its owner's; not the folders above it."""
    path = Path(name.partition("@")[0])
    return path.name if path.exists() or len(path.parts) != 2 else f"{path} {next(iter(files))}"


def _metadata(files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Texts of the model about itself: a single file's header, a folder's configs."""
    if len(files) == 1:
        file, path = next(iter(files.items()))
        told = read_header(path, file).metadata
        yield from ((f"metadata ({key})", told[key]) for key in _TOLD if key in told)
        return
    for config in _CONFIGS:
        if config in files:
            value = json_of(read_bounded(files[config], TEXT_BYTES, CheckpointError))
            yield f"{config} (_name_or_path)", str(value.get("_name_or_path", "")) if isinstance(value, dict) else ""


def kind_of(source: Source) -> str:
    """Architecture and prediction, in words."""
    return f"{_KINDS[source.architecture]}, {prediction_of(source)}"


def prediction_of(source: Source) -> str:
    """What the U-Net predicts, in words."""
    zero = " with zero terminal SNR" if source.zero_terminal_snr else ""
    return f"{'epsilon' if source.prediction == 'epsilon' else 'v-prediction'}{zero}"
