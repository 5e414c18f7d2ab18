"""One step's input: which latents, with which noise, at which timestep, under which caption."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from lora_core.captions.emphasis import literal
from lora_core.device import counter_generator
from lora_core.diffusion.chunks import CHUNK_IDS, Chunks, chunked
from lora_core.diffusion.components import Components
from lora_core.diffusion.condition import Condition, SizeIds, read_texts, shuffled
from lora_core.diffusion.schedule import TRAIN_STEPS, multires_noise, offset_noise
from lora_core.recipe import Noise, Training
from lora_core.training.samples import Picture, Sample, draws

Rows = tuple[torch.Tensor, ...]


class TextReader:
    """Captions to what the U-Net reads; what frozen text encoders said once is remembered, on their device."""

    def __init__(
        self, components: Components, *, clip_skip: int, trained: bool, remember: bool, most_tokens: int
    ) -> None:
        self._components, self._clip_skip, self._trained = components, clip_skip, trained
        self._most_tokens = most_tokens
        self._remember = remember and not trained
        self._device = components.text_encoders[0].device
        self._chunks: dict[str, tuple[Chunks, ...]] = {}
        self._conditions: dict[str, Condition] = {}

    def __call__(self, captions: Sequence[str]) -> Condition:
        """The condition of a batch, with a gradient if the text encoders are trained."""
        return self.condition(self.rows(captions))

    def rows(self, captions: Sequence[str]) -> Rows:
        """All that is looked up by the captions' letters; the rest is done with tensors alone.

        Returns:
            For each text encoder (B, n · 77) token ids; or, if they are frozen, what they said: (B, n · 77, width) and
            for SDXL (B, P). Behind them a mask (B, n · 77) where captions have different numbers of chunks.
        """
        if self._trained:
            return self._rows_of_ids(captions)
        with torch.no_grad():
            if not self._remember:
                said = self._read(self._rows_of_ids(captions))
            else:
                for caption in captions:
                    if caption not in self._conditions:
                        self._conditions[caption] = self._read(self._rows_of_ids([caption]))
                said = Condition.joined([self._conditions[caption] for caption in captions])
        return tuple(each for each in (said.states, said.pooled, said.mask) if each is not None)

    def condition(self, rows: Rows) -> Condition:
        """What the U-Net reads, of `rows`."""
        if self._trained:
            return self._read(rows)
        return Condition(*rows) if self._has_pooled else Condition(rows[0], mask=_only(rows[1:]))

    @property
    def _has_pooled(self) -> bool:
        return self._components.architecture == "sdxl"

    def _read(self, rows: Rows) -> Condition:
        encoders = len(self._components.text_encoders)
        return read_texts(self._components, rows[:encoders], self._clip_skip, mask=_only(rows[encoders:]))

    def _rows_of_ids(self, captions: Sequence[str]) -> Rows:
        rows = [self._chunks_of(caption) for caption in captions]
        counts = [max(each.count for each in its) for its in rows]
        ids = tuple(
            torch.cat([row[number].padded(max(counts), tokenizer).ids for row in rows]).to(self._device)
            for number, tokenizer in enumerate(self._components.tokenizers)
        )
        if len(set(counts)) == 1:
            return ids
        places = torch.arange(ids[0].shape[1])
        mask = torch.stack([places < count * CHUNK_IDS for count in counts])
        return (*ids, mask.to(self._device))

    def _chunks_of(self, caption: str) -> tuple[Chunks, ...]:
        if caption not in self._chunks:
            self._chunks[caption] = tuple(
                chunked(each, literal(caption), self._most_tokens) for each in self._components.tokenizers
            )
        return self._chunks[caption]


def _only(rows: Rows) -> torch.Tensor | None:
    return rows[0] if rows else None


_NOISE, _PERTURBATION, _TAGS = 5, 6, 9
_TENSORS = ("latents", "noise", "timesteps", "weights", "sizes", "masks", "perturbation")


@dataclass(frozen=True)
class Batch:
    """One step's input, on the CPU as it is drawn.

    Attributes:
        latents: (B, 4, h, w) float32.
        noise: (B, 4, h, w) float32, what is to be predicted.
        timesteps: (B,) int64 in [0, 1000).
        captions: B texts.
        weights: (B,) float32, weights of the samples' losses before min-SNR.
        sizes: (B, 6) int64, each sample's `SizeIds`.
        counters: B times (seed, epoch, position).
        prior: (B,) bool, whether it is a regularization picture.
        masks: (B, 1, h, w) float32, how much each place counts; None: all alike.
        perturbation: (B, 4, h, w) float32, added to the noise that is mixed in; None: nothing.
        texts: what the text encoders said to the captions, or what they are to read (`TextReader.rows`); empty: not
            looked up yet.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    captions: tuple[str, ...]
    weights: torch.Tensor
    sizes: torch.Tensor
    counters: tuple[tuple[int, int, int], ...]
    prior: torch.Tensor
    masks: torch.Tensor | None = None
    perturbation: torch.Tensor | None = None
    texts: tuple[torch.Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.captions)

    def split(self, size: int) -> tuple["Batch", ...]:
        """The same samples in order, in batches of that size; the last can be smaller."""
        return tuple(self.cut(start, start + size) for start in range(0, len(self), size))

    def cut(self, start: int, stop: int) -> "Batch":
        """The samples from one place up to another."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        cut: dict[str, Any] = {name: None if each is None else each[start:stop] for name, each in values.items()}
        return Batch(**cut | {"texts": tuple(each[start:stop] for each in self.texts)})

    def to(self, device: torch.device) -> "Batch":
        """The same on a device, all but `prior`, which decides what is done; a GPU is not waited for."""
        there = device.type == "cuda"

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            pinned = tensor.pin_memory() if there and tensor.device.type == "cpu" else tensor
            return pinned.to(device, non_blocking=there)

        return self.filled([moved(each) for each in self.tensors])

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All that a step computes with; None is left out."""
        found = [getattr(self, name) for name in _TENSORS]
        return (*(each for each in found if each is not None), *self.texts)

    def filled(self, tensors: Sequence[torch.Tensor]) -> "Batch":
        """The same batch with these in the place of its `tensors`."""
        names = [name for name in _TENSORS if getattr(self, name) is not None]
        changed: dict[str, Any] = dict(zip(names, tensors, strict=False))
        return replace(self, **changed, texts=tuple(tensors[len(names) :]))


def draw_batch(
    samples: Sequence[Sample],
    pictures: Sequence[Picture],
    latents: Sequence[torch.Tensor],
    options: Training,
    epoch: int,
    masks: Sequence[torch.Tensor] = (),
) -> Batch:
    """Draw noise, timestep and caption of every sample from (seed, epoch, position).

    The caption as in sd-scripts: first whether it is dropped whole, then the order of its tags. Changed noise has a
    stream of its own, so that no option moves what is drawn for another.

    Args:
        samples: of one batch, all of one size.
        pictures: of the whole training.
        latents: (4, h, w), one a picture.
        options: seed, caption and noise options are read.
        epoch: counted from 0.
        masks: (1, h, w), one a picture; none: every place counts.
    """
    noise, timesteps, captions, perturbations = [], [], [], []
    for sample in samples:
        generator = draws(options.seed, epoch, sample.position)
        timesteps.append(torch.randint(options.min_timestep, options.max_timestep, (), generator=generator))
        drawn = torch.randn(latents[sample.picture].shape, generator=generator)
        picture = pictures[sample.picture]
        keep = options.keep_tokens + picture.called - 1 if options.keep_tokens else 0
        tags = _kept_tags(picture.tags, keep, options, (epoch, sample.position))
        captions.append(_caption(tags, keep, options, generator))
        noise.append(_changed(drawn, options.noise, counter_generator(options.seed, _NOISE, epoch, sample.position)))
        if strength := options.noise.input_perturbation:
            own = counter_generator(options.seed, _PERTURBATION, epoch, sample.position)
            perturbations.append(strength * torch.randn(drawn.shape, generator=own))
    its = [pictures[sample.picture] for sample in samples]
    return Batch(
        latents=torch.stack([latents[sample.picture] for sample in samples]),
        noise=torch.stack(noise),
        timesteps=torch.stack(timesteps),
        captions=tuple(captions),
        weights=torch.tensor([options.prior_loss_weight if picture.regularization else 1.0 for picture in its]),
        sizes=torch.tensor([size_ids(picture) for picture in its]),
        counters=tuple((options.seed, epoch, sample.position) for sample in samples),
        prior=torch.tensor([picture.regularization for picture in its]),
        masks=torch.stack([masks[sample.picture] for sample in samples]) if masks else None,
        perturbation=torch.stack(perturbations) if perturbations else None,
    )


def size_ids(picture: Picture) -> SizeIds:
    """A picture's true sizes: as it came to the trainer, what the crop took off once it was resized, as it is trained.

    sd-scripts tells the border of a picture that is fitted into the bucket, though it fills and crops it; a picture of
    the bucket's shape has 0 and 0 either way.
    """
    (left, top), (width, height) = picture.placement.crop, picture.placement.bucket
    return SizeIds(picture.entry.height, picture.entry.width, top, left, height, width)


def _kept_tags(tags: Sequence[str], keep: int, options: Training, place: tuple[int, int]) -> Sequence[str]:
    """Without the tags that are left out at this step."""
    if not options.tag_dropout:
        return tags
    own = counter_generator(options.seed, _TAGS, *place)
    stays = torch.rand(len(tags), generator=own) >= options.tag_dropout
    return [tag for number, tag in enumerate(tags) if number < keep or stays[number]]


def _caption(tags: Sequence[str], keep: int, options: Training, generator: torch.Generator) -> str:
    if options.caption_dropout and torch.rand((), generator=generator).item() < options.caption_dropout:
        return ""
    if options.shuffle_caption:
        tags = shuffled(tags, keep, generator)
    return ", ".join(tags)


def _changed(noise: torch.Tensor, options: Noise, generator: torch.Generator) -> torch.Tensor:
    if options.offset:
        return offset_noise(noise, options.offset, generator)
    if options.multires_iterations:
        return multires_noise(noise, options.multires_iterations, options.multires_discount, generator)
    return noise


_HELD_OUT = 8
_TIMESTEPS = 8


class Validation:
    """The training's own loss on held-out pictures, each at eight timesteps spread evenly over the schedule."""

    def __init__(
        self,
        loss: Callable[[Batch], torch.Tensor],
        pictures: Sequence[Picture],
        latents: Sequence[torch.Tensor],
        options: Training,
    ) -> None:
        """Args: latents: (4, h, w), one a picture; loss: of a batch, `Stepper.loss`."""
        self._loss = loss
        self._batches = [
            _batch(number, picture, latent, options.seed)
            for number, (picture, latent) in enumerate(zip(pictures, latents, strict=True))
        ]

    @torch.no_grad()
    def loss(self) -> float:
        """Mean over pictures and timesteps."""
        return float(torch.stack([self._loss(batch) for batch in self._batches]).mean())


def _batch(number: int, picture: Picture, latent: torch.Tensor, seed: int) -> Batch:
    generator = counter_generator(seed, _HELD_OUT, number)
    timesteps = (torch.arange(_TIMESTEPS) * 2 + 1) * TRAIN_STEPS // (2 * _TIMESTEPS)
    return Batch(
        latents=latent.expand(_TIMESTEPS, *latent.shape),
        noise=torch.randn((_TIMESTEPS, *latent.shape), generator=generator),
        timesteps=timesteps,
        captions=(", ".join(picture.tags),) * _TIMESTEPS,
        weights=torch.ones(_TIMESTEPS),
        sizes=torch.tensor([size_ids(picture)] * _TIMESTEPS),
        counters=tuple((seed, 0, 0) for _ in range(_TIMESTEPS)),
        prior=torch.zeros(_TIMESTEPS, dtype=torch.bool),
    )
