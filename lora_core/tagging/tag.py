"""Raw scores of a set of pictures; a picture that a tagger has read once is never read by it again."""

import contextlib
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_core.dataset import Entry, Manifest, Scores, TagTable
from lora_core.errors import TaggerError
from lora_core.progress import Progress, silent
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of
from lora_core.store.memo import memo_key
from lora_core.tagging.wd14 import FLOOR, Tagger, first_line, parts

# Batches that are decoded while a GPU works on another: it takes pictures faster than one core decodes them. Beside a
# model that itself needs all cores, decoding would only hold it up.
_AHEAD = 2


def tag(
    store: Store,
    manifest: Manifest,
    files: Mapping[str, Path],
    progress: Progress = silent,
    floor: float = FLOOR,
    device: str = "auto",
) -> TagTable:
    """Raw scores of every picture; those that this tagger has read before come from the store.

    Args:
        store: where pictures and their records are.
        manifest: the pictures.
        files: model.onnx and selected_tags.csv.
        progress: told after every picture.
        floor: scores below are not kept; well below any threshold, so that moving one never runs the tagger again.
        device: see `Tagger.load`.

    Raises:
        TaggerError: see `Tagger.load`.
    """
    model = digest_of(canonical_json([store.digest_of_file(path) for path in parts(files)]))
    keys = {entry.image: memo_key("tag", entry.image, model, floor) for entry in manifest.entries}
    known = {image: store.record(key, Scores) for image, key in keys.items()}
    images = {image: scores for image, scores in known.items() if scores is not None}
    missing = list({entry.image: entry for entry in manifest.entries if entry.image not in images}.values())
    done = len(manifest.entries) - len(missing)
    progress(done, len(manifest.entries))
    if missing:
        tagger = Tagger.load(files, device)

        def prepared(entry: Entry) -> NDArray[np.float32]:
            return tagger.prepared(_picture(store, entry))

        def keep(entry: Entry, scores: Scores) -> None:
            store.set_record(keys[entry.image], scores.model_dump(mode="json"))

        ahead = _AHEAD if tagger.on_gpu else 0
        with _side_by_side() as pool:
            for entries, inputs in _batches(pool, missing, prepared, tagger.batch, ahead):
                found = tagger.scores(inputs, floor)
                for entry, scores, _ in zip(entries, found, pool.map(keep, entries, found), strict=True):
                    images[entry.image] = scores
                    done += 1
                    progress(done, len(manifest.entries), entry.name)
    return TagTable(model=model, floor=floor, images=images)


@contextlib.contextmanager
def _side_by_side() -> Iterator[ThreadPoolExecutor]:
    """Threads for reading, resizing and writing; when the block fails, what has not begun never does."""
    Image.init()  # as in images/parallel.py
    pool = ThreadPoolExecutor()
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(
    pool: Executor, entries: Sequence[Entry], prepare: Callable[[Entry], NDArray[np.float32]], size: int, ahead: int
) -> Iterator[tuple[list[Entry], list[NDArray[np.float32]]]]:
    """Entries and their inputs, `size` at once, prepared side by side.

    Meanwhile the next `ahead` batches are prepared, and no more than those: a thousand inputs are 2.4 GB.
    """
    waiting: deque[tuple[Entry, Future[NDArray[np.float32]]]] = deque()
    coming = iter(entries)
    while True:
        more = islice(coming, (ahead + 1) * size - len(waiting))
        waiting.extend((entry, pool.submit(prepare, entry)) for entry in more)
        if not waiting:
            return
        batch = [waiting.popleft() for _ in range(min(size, len(waiting)))]
        yield [entry for entry, _ in batch], [future.result() for _, future in batch]


def _picture(store: Store, entry: Entry) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(store.get_bytes(entry.image)))
        image.load()
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise TaggerError(
            f"{entry.source}: cannot be read ({first_line(error)}); preprocess the folder first"
        ) from error
    return image
