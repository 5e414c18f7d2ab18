"""Pictures in a store, as samples of an epoch and as screenshots."""

from io import BytesIO

from PIL import Image

from lora_core.dataset import Entry, Manifest
from lora_core.sampling.samples import Sample, Samples
from lora_core.store import Store


def put(store: Store, picture: Image.Image) -> str:
    """As a PNG; returns its digest."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return store.put_bytes(buffer.getvalue())


def samples(store: Store, *pictures: Image.Image) -> Samples:
    """Epoch 1, one prompt, a seed for each."""
    return Samples(
        negative="",
        lora_files=(),
        samples=tuple(
            Sample(
                epoch="1", prompt_index=0, prompt="x", seed=seed, file=str(seed), image=put(store, picture),
                width=picture.width, height=picture.height,
            )
            for seed, picture in enumerate(pictures)
        ),
    )  # fmt: skip


def training(store: Store, *pictures: Image.Image) -> Manifest:
    """Named shot_0, shot_1 and so on."""
    return Manifest(
        entries=tuple(
            Entry(name=f"shot_{n}", source=f"{n}.png", image=put(store, p), width=p.width, height=p.height)
            for n, p in enumerate(pictures)
        )
    )
