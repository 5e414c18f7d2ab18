"""Pictures for the gates: any model, any prompts, kept in the store piece by piece."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from lora_core.dataset import Entry, Manifest
from lora_core.recipe import Sampling
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of

if TYPE_CHECKING:
    from lora_core.diffusion.components import Components

_VERSION = 1
_AT_ONCE = 40


class Drawing:
    """A model to draw with, loaded when the first picture is missing."""

    def __init__(
        self, store: Store, base: CheckpointRef, lora: LoraRef | None, options: Sampling, clip_skip: int, device: str
    ) -> None:
        self._store, self._base, self._lora = store, base, lora
        self._options, self._clip_skip, self._device = options, clip_skip, device

    def draw(self, prompts: Sequence[str]) -> Manifest:
        """One picture a prompt, the first with seed 1, the second with seed 2 and so on.

        Raises:
            CheckpointError, LoraError: a model cannot be used.
        """
        shots = [(prompt, seed) for seed, prompt in enumerate(prompts, start=1)]
        images = [
            image
            for start in range(0, len(shots), _AT_ONCE)
            for image in self._known_or_drawn(shots[start : start + _AT_ONCE])
        ]
        return Manifest(
            entries=tuple(
                Entry(
                    name=f"{number:03d}",
                    source=prompt,
                    image=image,
                    width=self._options.width,
                    height=self._options.height,
                )
                for number, ((prompt, _), image) in enumerate(zip(shots, images, strict=True), start=1)
            )
        )

    def _known_or_drawn(self, shots: Sequence[tuple[str, int]]) -> list[str]:
        options = self._options.model_dump(
            mode="json", exclude={"prompts", "style_prompts", "seeds", "weights", "transfer"}
        )
        model = [self._base.sha256, self._lora.sha256 if self._lora else ""]
        key = digest_of(canonical_json(["proof drawing", _VERSION, *model, list(shots), options, self._clip_skip]))
        known = self._store.record(key, list[str])
        if known is not None and all(self._store.has(image) for image in known):
            return known
        images = list(self._drawn(shots))
        self._store.set_record(key, images)
        return images

    def _drawn(self, shots: Sequence[tuple[str, int]]) -> Iterator[str]:
        from lora_core.sampling.generate import generate
        from lora_core.sampling.infotext import infotext, png_bytes
        from lora_core.sampling.schedulers import settled
        from lora_core.sampling.shot import Shot

        options = settled(self._options, zero_terminal_snr=self._components.zero_terminal_snr)
        all_: list[Shot] = [Shot(prompt, self._options.negative, seed) for prompt, seed in shots]
        pictures = generate(self._components, all_, options, self._clip_skip)
        for shot, picture in zip(all_, pictures, strict=True):
            yield self._store.put_bytes(png_bytes(picture, infotext(shot, options, clip_skip=self._clip_skip)))

    @cached_property
    def _components(self) -> "Components":
        from lora_core.device import pick_device, pick_dtype
        from lora_core.diffusion.components import load_components
        from lora_core.lora.attach import attach
        from lora_core.lora.file import read_lora
        from lora_core.sampling.epochs import epoch_files

        device = pick_device(self._device)
        files = self._store.tree(self._base.sha256)
        components = load_components(files, device=device, dtype=pick_dtype("auto", device))
        if self._lora is not None:
            last = epoch_files(self._store, self._lora)[-1]
            attach(components, read_lora(self._store.path(last.sha256), last.file), 1.0)
        return components
