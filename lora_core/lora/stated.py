"""What model files say of themselves and of what they were trained on, for the content rule."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lora_core.captions.content import Said, named
from lora_core.captions.content import check as check_content
from lora_core.errors import HeadcanonError
from lora_core.hub.formats import read_header
from lora_core.lora.header import tag_frequency

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
