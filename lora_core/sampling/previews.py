"""Pictures of every epoch as soon as it is saved, for whoever watches a training."""

import gc
import logging
import math
from pathlib import Path

import torch

from lora_core.errors import HeadcanonError
from lora_core.progress import Progress
from lora_core.recipe import Sampling
from lora_core.refs import CheckpointRef
from lora_core.sampling.sampler import EpochFile, Planned, Sampler, SamplerConfig, places_of
from lora_core.sampling.samples import NO_LORA, Column
from lora_core.store import Store
from lora_core.store.files import write_atomically

FOLDER = "samples"
_log = logging.getLogger(__name__)


class Previews:
    """Draws the first of the pictures that the `sample` step will draw, in its batches, so that it finds them done.

    The base is loaded for each epoch and given up again: between two epochs a training has its memory for itself.
    """

    def __init__(
        self, store: Store, base: CheckpointRef, options: Sampling, config: SamplerConfig, trigger: str, folder: Path
    ) -> None:
        """Make ready.

        Args:
            store: keeps the pictures.
            base: to draw with, the one that the LoRA is for.
            options: their `while_training` says how many.
            config: how the base is read, and where it runs.
            trigger: put in the place of {trigger}.
            folder: of the training's curves; pictures go to `samples/` in it.
        """
        self._store, self._base, self._options, self._config = store, base, options, config
        self._folder = folder / FOLDER
        places = places_of(options, trigger)
        self._count = min(options.while_training, len(places))
        self._places = places[: math.ceil(self._count / options.batch) * options.batch]

    def show(self, epoch: int, path: Path, progress: Progress) -> None:
        """Draw an epoch, and once the base without it; what cannot be drawn is a warning, and the training goes on.

        Args:
            epoch: counted from 1.
            path: its LoRA file.
            progress: told after every step.
        """
        if self._file(f"epoch-{epoch:04}", self._count).exists():
            return
        try:
            self._draw(epoch, path, progress)
        except HeadcanonError as error:
            _log.warning("epoch %d is not shown: %s", epoch, error)
        finally:
            gc.collect()
            torch.cuda.empty_cache()

    def _draw(self, epoch: int, path: Path, progress: Progress) -> None:
        lora = EpochFile(epoch, path.name, self._store.put_file(path))
        columns = {
            "base": Planned(Column(NO_LORA), None),
            f"epoch-{epoch:04}": Planned(Column(str(epoch), self._options.weights[-1]), lora),
        }
        sampler = Sampler(self._store, self._base, self._options, self._config)
        drawn = sampler.draw(list(columns.values()), self._places, progress)
        for name, planned in columns.items():
            of_column = [one for one in drawn.samples if one.epoch == planned.column.epoch][: self._count]
            for number, one in enumerate(of_column, start=1):
                write_atomically(self._file(name, number), self._store.get_bytes(one.image))

    def _file(self, column: str, number: int) -> Path:
        return self._folder / f"{column}-{number:02}.png"
