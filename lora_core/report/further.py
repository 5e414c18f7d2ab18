"""Further pictures of a published LoRA: what somebody wants to see, on the base that it was made for."""

from pathlib import Path

from lora_core.errors import PublishError, StoreError
from lora_core.lora.metadata import check_models
from lora_core.progress import Progress
from lora_core.recipe import Speed
from lora_core.refs import LoraRef
from lora_core.report.published import Further, Published
from lora_core.sampling.epochs import epoch_files
from lora_core.sampling.sampler import Planned, Sampler, SamplerConfig, places_of
from lora_core.sampling.samples import SAMPLES_FILE, Column, Sample, Samples
from lora_core.store import Store
from lora_core.store.digests import canonical_json
from lora_core.store.files import write_atomically


def draw_further(
    store: Store, published: Published, asked: Further, *, device: str, speed: Speed, progress: Progress
) -> Path:
    """Draw them into the published folder, each column as soon as it is there. What was drawn before is found again.

    Args:
        store: of the run that published; keeps the pictures too.
        published: where to, and what with.
        asked: which.
        device: as in the recipe.
        speed: likewise.
        progress: told after every step.

    Returns:
        Their folder, with a `samples.json`.

    Raises:
        PublishError: the folder has lost its epochs, or the store its base.
        ContentRuleError: models and prompts together are what may not be drawn.
        CheckpointError, LoraError: a model cannot be read.
    """
    recipe, (base, _), options = published.recipe, published.made_of, asked.options
    epochs = {path.name: path for path in (published.folder / "epochs").glob("*.safetensors")}
    if not epochs:
        raise PublishError(f"{published.folder / 'epochs'}: holds no epoch any more; publish it again")
    files = epoch_files(store, LoraRef(sha256=store.put_tree(epochs, how="refer")))
    columns = [
        Planned(Column(str(file.epoch), weight), file)
        for file in files if file.epoch in asked.epochs for weight in options.weights
    ]  # fmt: skip
    places = places_of(options, recipe.trigger)
    models = (*_base_files(store, base.sha256), *epochs.values())
    check_models((recipe.base.model, published.name), models, [place.prompt for place in places])
    folder, drawn = published.folder / asked.folder, list[Sample]()

    def keep(column: list[Sample]) -> None:
        for sample in column:
            write_atomically(folder / sample.file, store.get_bytes(sample.image))
        drawn.extend(column)
        names = tuple((str(file.epoch), file.file) for file in files)
        listed = Samples(negative=options.negative, lora_files=names, samples=tuple(drawn))
        write_atomically(folder / SAMPLES_FILE, canonical_json(listed.model_dump(mode="json")))

    reading = recipe.base.reading
    config = SamplerConfig(reading.clip_skip, reading.process, device, speed)
    Sampler(store, base, options, config).draw(columns, places, progress, keep)
    return folder


def _base_files(store: Store, tree: str) -> tuple[Path, ...]:
    try:
        return tuple(store.tree(tree).values())
    except StoreError:
        raise PublishError("its base model is no longer known to the store; run the character again") from None
