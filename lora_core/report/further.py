"""Further pictures of a published LoRA: what somebody wants to see, on the base that it was made for."""

from pathlib import Path

from lora_core.errors import PublishError, StoreError
from lora_core.lora.metadata import check_models
from lora_core.progress import Progress
from lora_core.recipe import Sampling, Speed
from lora_core.refs import LoraRef
from lora_core.report.published import PICTURES_FILE, DrawnPicture, DrawnPictures, FurtherPictures, Published
from lora_core.sampling.epochs import epoch_files
from lora_core.sampling.sampler import Planned, Sampler, SamplerConfig, places_of
from lora_core.sampling.samples import Column, Sample
from lora_core.store import Store
from lora_core.store.files import write_atomically


def draw_further(
    store: Store,
    published: Published,
    asked: FurtherPictures,
    options: Sampling,
    *,
    device: str,
    speed: Speed,
    progress: Progress,
) -> None:
    """Draw them into the published folder, each column as soon as it is there. What was drawn before is found again.

    Args:
        store: of the run that published; keeps the pictures too.
        published: where to, and what with.
        asked: which.
        options: how.
        device: as in the recipe.
        speed: likewise.
        progress: told after every step.

    Raises:
        PublishError: the folder has lost its epochs, or the store its base.
        ContentRuleError: models and prompts together are what may not be drawn.
        CheckpointError, LoraError: a model cannot be read.
    """
    recipe, (base, _) = published.recipe, published.made_of
    reading, trigger = recipe.base.reading, recipe.trigger
    epochs = {path.name: path for path in (published.folder / "epochs").glob("*.safetensors")}
    if not epochs:
        raise PublishError(f"{published.folder / 'epochs'}: holds no epoch any more; publish it again")
    files = epoch_files(store, LoraRef(sha256=store.put_tree(epochs, how="refer")))
    columns = [
        Planned(Column(str(file.epoch), weight), file)
        for file in files if file.epoch in asked.epochs for weight in asked.weights
    ]  # fmt: skip
    places = places_of(options, trigger)
    check_models(
        (recipe.base.model, published.name),
        (*_base_files(store, base.sha256), *epochs.values()),
        [place.prompt for place in places],
    )
    shown = _Shown(store, published, DrawnPictures(asked=asked))
    config = SamplerConfig(reading.clip_skip, reading.process, device, speed)
    Sampler(store, base, options, config).draw(columns, places, progress, shown.add)


def _base_files(store: Store, tree: str) -> tuple[Path, ...]:
    try:
        return tuple(store.tree(tree).values())
    except StoreError:
        raise PublishError("its base model is no longer known to the store; run the character again") from None


class _Shown:
    """Writes pictures and their list into the folder."""

    def __init__(self, store: Store, published: Published, so_far: DrawnPictures) -> None:
        self._store, self._list = store, so_far
        self._folder = published.folder / so_far.asked.folder

    def add(self, samples: list[Sample]) -> None:
        """A column that is there."""
        found = []
        for sample in samples:
            file = f"{sample.epoch}-w{sample.weight:g}-{sample.prompt_index + 1}-{sample.seed}.png"
            write_atomically(self._folder / file, self._store.get_bytes(sample.image))
            found.append(
                DrawnPicture(
                    file=file, prompt=sample.prompt, epoch=sample.epoch, weight=sample.weight, seed=sample.seed
                )
            )
        self._list = DrawnPictures(asked=self._list.asked, pictures=(*self._list.pictures, *found))
        write_atomically(self._folder / PICTURES_FILE, self._list.model_dump_json().encode())
