"""The metadata of LoRA files: written for a file made from others, and read for the content rule.

Names are sd-scripts' (`ss_*`) and Stability's model spec (`modelspec.*`), all values text. `headcanon.made` says how a
file was made: the tool, the SHA-256 and weight of every source, rank and energy asked for. No dates and no paths, so
that equal work gives equal bytes.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lora_core.bounded import json_of
from lora_core.captions.content import Said, named
from lora_core.captions.content import check as check_content
from lora_core.errors import HeadcanonError
from lora_core.hub.formats import read_header
from lora_core.printable import whole_letters

if TYPE_CHECKING:  # the content rule is asked where torch is not needed
    from lora_core.lora.module import LoraModule

MADE = "headcanon.made"
BASE_VERSIONS = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
SPEC_ARCHITECTURES = {
    "sd1": "stable-diffusion-v1/lora",
    "sd2": "stable-diffusion-v2-512/lora",
    "sdxl": "stable-diffusion-xl-v1-base/lora",
}
_OF_THE_BASE = (
    "ss_base_model_version",
    "ss_v2",
    "ss_sd_model_name",
    "ss_sd_model_hash",
    "ss_new_sd_model_hash",
    "ss_clip_skip",
    "ss_zero_terminal_snr",
    "modelspec.architecture",
    "modelspec.implementation",
    "modelspec.prediction_type",
    "modelspec.resolution",
    "modelspec.sai_model_spec",
)
_OF_THE_FILE = (
    "lora_adapter_metadata",
    "modelspec.date",
    "modelspec.hash_sha256",
    "sshs_legacy_hash",
    "sshs_model_hash",
    "ss_network_args",
)


WeightedMetadata = tuple[Mapping[str, str], float]
"""A source's metadata and its weight in the sum."""


@dataclass
class RankCounts:
    """Ranks and alphas of a LoRA under way, as web UIs show them: of linear layers, and of larger kernels."""

    linear: Counter[tuple[int, float]] = field(default_factory=Counter)
    kernels: Counter[tuple[int, float]] = field(default_factory=Counter)

    def add(self, module: "LoraModule") -> None:
        """Count a module in."""
        larger = module.down.ndim == 4 and module.down.shape[2:] != (1, 1)
        (self.kernels if larger else self.linear)[module.rank, module.scale * module.rank] += 1

    @property
    def modules(self) -> int:
        """How many."""
        return self.linear.total() + self.kernels.total()

    @property
    def ranks(self) -> tuple[int, ...]:
        """Each once, in order."""
        return tuple(sorted({rank for rank, _ in (*self.linear, *self.kernels)}))

    def metadata(self) -> dict[str, str]:
        """As sd-scripts writes them: one number, or "Dynamic" where modules differ."""
        rank, alpha = _one(self.linear or self.kernels)
        found = {"ss_network_module": "networks.lora", "ss_network_dim": rank, "ss_network_alpha": alpha}
        if self.kernels:
            rank, alpha = _one(self.kernels)
            found["ss_network_args"] = json.dumps({"conv_dim": rank, "conv_alpha": alpha})
        return found


def _one(found: Mapping[tuple[int, float], int]) -> tuple[str, str]:
    ranks, alphas = {rank for rank, _ in found}, {alpha for _, alpha in found}
    return str(*ranks) if len(ranks) == 1 else "Dynamic", str(*alphas) if len(alphas) == 1 else "Dynamic"


def of_one(sources: Sequence[WeightedMetadata], title: str, ranks: RankCounts, made: str) -> dict[str, str]:
    """The header of a LoRA made from one other: it was trained as that one was."""
    ((source, _),) = sources
    kept = {key: value for key, value in source.items() if key not in _OF_THE_FILE}
    return {**kept, **ranks.metadata(), **_titled(title), MADE: made}


def of_many(sources: Sequence[WeightedMetadata], title: str, ranks: RankCounts, made: str) -> dict[str, str]:
    """The header of a sum of LoRAs: what they agree on about the base, and the triggers of those not taken away.

    Args:
        sources: the metadata of each with its weight.
        title: the new file's name.
        ranks: its ranks and alphas.
        made: how it was made.
    """
    first, *rest = (source for source, _ in sources)
    agreed = {key: first[key] for key in _OF_THE_BASE if key in first and all(first[key] == r.get(key) for r in rest)}
    calling = [source for source, weight in sources if weight > 0]
    return {**agreed, **_triggers(calling), **ranks.metadata(), **_titled(title), MADE: made}


def of_difference(
    architecture: str, base: Mapping[str, str], title: str, ranks: RankCounts, made: str
) -> dict[str, str]:
    """The header of the LoRA between two checkpoints.

    Args:
        architecture: sd1, sd2 or sdxl.
        base: name and SHA-256 of the base by the keys that sd-scripts writes them under; empty for a folder.
        title: the new file's name.
        ranks: its ranks and alphas.
        made: how it was made.
    """
    return {
        "ss_base_model_version": BASE_VERSIONS[architecture],
        "ss_v2": str(architecture == "sd2"),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": SPEC_ARCHITECTURES[architecture],
        **base,
        **ranks.metadata(),
        **_titled(title),
        MADE: made,
    }


def _titled(title: str) -> dict[str, str]:
    return {"ss_output_name": title, "modelspec.title": title}


def _triggers(sources: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tag frequencies by training set, of all sources; equal names are one set. The trigger where there is one."""
    sets: dict[str, Counter[str]] = {}
    for source in sources:
        for name, counts in tag_frequency(source).items():
            sets.setdefault(name, Counter()).update(counts)
    found: dict[str, str] = {}
    if sets:
        ordered = {name: dict(counts.most_common()) for name, counts in sets.items()}
        found["ss_tag_frequency"] = json.dumps(ordered, ensure_ascii=False)
    phrases = dict.fromkeys(source[key] for source in sources if (key := "modelspec.trigger_phrase") in source)
    if phrases:
        found["modelspec.trigger_phrase"] = ", ".join(phrases)
    return found


def tag_frequency(metadata: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Training set → tag → in how many captions, from `ss_tag_frequency`; empty if that is not as it should be."""
    try:
        sets = json_of(metadata.get("ss_tag_frequency", "{}"))
        return {
            whole_letters(name): {whole_letters(tag).strip(): int(count) for tag, count in tags.items()}
            for name, tags in sets.items()
        }
    except (ValueError, AttributeError, TypeError, OverflowError):
        return {}


# ── the content rule ──────────────────────────────────────────────────────────────────────────────────────────────────

_FREQUENCY = "ss_tag_frequency"
_TEXTS = (
    "modelspec.description",
    "modelspec.tags",
    "modelspec.title",
    "modelspec.trigger_phrase",
    "modelspec.usage_hint",
    "ss_dataset_dirs",
    "ss_datasets",
    "ss_output_name",
    "ss_reg_dataset_dirs",
    "ss_training_comment",
)


def check_models(names: Iterable[str], files: Iterable[Path], words: Iterable[str | Said] = ()) -> None:
    """Ask the content rule about all models that go into one drawing, merge or LoRA, and the words beside them.

    Args:
        names: what the user calls the models, and the new file: paths or hub repositories.
        files: of the models; their metadata is read.
        words: prompts.

    Raises:
        ContentRuleError: together they code a minor and are sexual.
    """
    called = (named(name) for name in names)
    check_content((), (*called, *words, *(said for path in files for said in stated_in(path, path.name))))


def stated_in(path: Path, name: str) -> Iterator[Said]:
    """Tags and texts in a safetensors file's metadata; none of a file that cannot be read, which its reader refuses."""
    try:
        metadata = read_header(path, name).metadata if name.endswith(".safetensors") else {}
    except HeadcanonError:
        return
    trained_on = tag_frequency(metadata)
    for folder, tags in trained_on.items():
        yield from (Said(f"what {name} was trained on", text) for text in (folder, *tags))
    for key in _TEXTS if trained_on else (_FREQUENCY, *_TEXTS):
        if key in metadata:
            yield Said(f"{key} of {name}", metadata[key])
