"""How fast this machine trains and draws, from what it has done before; so that a dry run can tell hours.

The unit of work is one megapixel through the U-Net: once for every picture of a training step, and for every denoising
step of a picture that is drawn (twice with guidance). What else decides how long a unit takes is in the work's kind.
"""

import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from lora_core.dataset import Frozen
from lora_core.diffusion.components import Components
from lora_core.progress import Progress
from lora_core.store import Store
from lora_core.store.digests import canonical_json, digest_of

PROBE_STEPS = 10
"""After so many the pace of a training is known well enough to be told."""


class Work(NamedTuple):
    """A piece of work.

    Attributes:
        kind: what decides how long one unit takes.
        amount: in megapixels through the U-Net.
    """

    kind: tuple[str, ...]
    amount: float


class Pace(Frozen):
    """Seconds for one unit, as last measured."""

    seconds: float


def model_kind(components: Components, device: torch.device) -> tuple[str, str]:
    """The part of a kind that is about model and machine."""
    widths = "-".join(map(str, components.unet.config["block_out_channels"]))
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.node()} {device.type}"
    return f"{components.architecture} {widths}", machine


def remember(store: Store, work: Work, seconds: float) -> None:
    """Keep how long a piece of work took."""
    store.set_record(_key(work), {"seconds": seconds / work.amount})


def expected_seconds(store: Store, work: Work) -> float | None:
    """How long a piece of work will take; None: nothing of its kind was done here yet."""
    known = store.record(_key(work), Pace)
    return known.seconds * work.amount if known else None


def timed(progress: Progress, store: Store, work: Work, clock: Callable[[], float] = time.monotonic) -> Progress:
    """A listener that also remembers the pace: once when it is known well enough, and over all when the work is done.

    The first piece does not count: kernels are chosen and compiled in it.
    """
    first: list[tuple[int, float]] = []

    def listen(done: int, total: int, note: str = "") -> None:
        now = clock()
        first[:] = first or [(done, now)]
        pieces = done - first[0][0]
        if pieces == PROBE_STEPS or (done == total and pieces > PROBE_STEPS):
            remember(store, work._replace(amount=work.amount * pieces / total), now - first[0][1])
        progress(done, total, note)

    return listen


def _key(work: Work) -> str:
    return digest_of(canonical_json(["pace", *work.kind]))
