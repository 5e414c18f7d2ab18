"""Draw the scenes with the chosen epoch on the base; every picture is kept as soon as it is drawn."""

from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO
from types import MappingProxyType

from PIL import Image

from lora_core.dataset import Entry, Frozen, Manifest
from lora_core.errors import LoraError
from lora_core.progress import Progress, silent
from lora_core.recipe import Sampling
from lora_core.redraw.scenes import Scene
from lora_core.refs import CheckpointRef, Digest, LoraRef, ReportRef
from lora_core.sampling.epochs import epoch_files
from lora_core.sampling.sampler import Place, Planned, Sampler, SamplerConfig
from lora_core.sampling.samples import Column
from lora_core.sampling.shot import Begin
from lora_core.store import Store

SCENES_FILE = "scenes.json"


class Redrawn(Frozen):
    """One picture and the scene that it was drawn from."""

    scene: Scene
    image: Digest
    width: int
    height: int


class RedrawnSet(Frozen):
    """All pictures of a round, in drawing order."""

    pictures: tuple[Redrawn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures, as people call them: redrawn-001 and so on."""
        return tuple(f"redrawn-{number:03d}" for number in range(1, len(self.pictures) + 1))

    @property
    def manifest(self) -> Manifest:
        """As a set, so that the tagger reads them as it reads screenshots."""
        return Manifest(
            entries=tuple(
                Entry(name=name, source=f"{name}.png", image=one.image, width=one.width, height=one.height)
                for name, one in zip(self.names, self.pictures, strict=True)
            )
        )


def draw_scenes(
    store: Store,
    base: CheckpointRef,
    lora: LoraRef,
    column: Column,
    scenes: Sequence[Scene],
    options: Sampling,
    config: SamplerConfig,
    progress: Progress = silent,
    begins: Mapping[str, Begin] = MappingProxyType({}),
) -> ReportRef:
    """Draw every scene once.

    Args:
        store: where the pictures go.
        base: the model to draw with.
        lora: its epochs.
        column: the epoch and weight to draw with.
        scenes: prompts and seeds.
        options: see `Sampling.square`.
        config: how the base is read, and where it runs.
        progress: told after every step.
        begins: by name, the screenshots that scenes begin with.

    Returns:
        A tree of `redrawn-001.png` … and `scenes.json`, a `RedrawnSet`.

    Raises:
        CheckpointError: the base cannot be loaded.
        LoraError: the LoRA has no such epoch, cannot be read, or does not fit the base.
    """
    file = next((one for one in epoch_files(store, lora) if str(one.epoch) == column.epoch), None)
    if file is None:
        raise LoraError(f"LoRA {lora.sha256[:12]}…: has no epoch {column.epoch}; judge its epochs again")
    places = [
        Place(number, scene.prompt, scene.seed, begins[scene.screenshot] if scene.screenshot else None)
        for number, scene in enumerate(scenes)
    ]
    places.sort(key=lambda place: place.begin is not None)  # a batch holds one kind
    drawn = Sampler(store, base, options, config).draw([Planned(column, file)], places, progress)
    by_number = {one.prompt_index: one for one in drawn.samples}
    found = RedrawnSet(
        pictures=tuple(
            Redrawn(scene=scene, image=one.image, width=one.width, height=one.height)
            for number, scene in enumerate(scenes)
            for one in (by_number[number],)
        )
    )
    files = {f"{name}.png": store.path(one.image) for name, one in zip(found.names, found.pictures, strict=True)}
    listed = store.path(store.put_json(found.model_dump(mode="json")))
    return ReportRef(sha256=store.put_tree({**files, SCENES_FILE: listed}))


def begins_of(store: Store, screenshots: Manifest, denoise: float) -> dict[str, Begin]:
    """Every screenshot, by name, as a picture to begin with: of one that is taller than wide the upper square."""

    def opened(image: str) -> Image.Image:
        picture = Image.open(BytesIO(store.get_bytes(image)))
        side = min(picture.size)
        left = (picture.width - side) // 2
        return picture.crop((left, 0, left + side, side))

    return {entry.name: Begin(entry.image, denoise, partial(opened, entry.image)) for entry in screenshots.entries}


def read_redrawn(store: Store, ref: ReportRef) -> RedrawnSet:
    """The pictures of a round."""
    return RedrawnSet.model_validate_json(store.tree(ref.sha256)[SCENES_FILE].read_bytes())
