"""Work on many pictures at once, in order."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

Item = TypeVar("Item")
Result = TypeVar("Result")

# Threads that wait for the disk leave their core to these.
_SPARE_WORKERS = 2
# About 3 GB of pictures: four bytes a pixel, three copies while one is flattened and cut.
_MOST_PIXELS_AT_ONCE = 250_000_000


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], pixels: Callable[[Item], int] = lambda item: 1
) -> Generator[Result, None, None]:
    """Results in the order of the items. Threads: decoding, resizing and encoding leave the interpreter free.

    When an item fails or the generator is closed, what has not begun never does.

    Args:
        work: done for every item.
        items: what to work on.
        pixels: how large an item is in memory; large ones are not all held at once.
    """
    if not items:
        return
    Image.init()  # Pillow imports its decoders when the first picture is opened, which may be in several threads
    room = _MOST_PIXELS_AT_ONCE // max(1, *map(pixels, items))
    pool = ThreadPoolExecutor(max(1, min(_cores() + _SPARE_WORKERS, room)))
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use: a container's, not the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
