"""What one picture is drawn from."""

from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image


@dataclass(frozen=True)
class Begin:
    """A picture that drawing begins with instead of noise alone (SDEdit, Meng et al. 2021; img2img in web UIs).

    Attributes:
        image: its digest.
        denoise: denoising strength, above 0; 1 leaves hardly anything of it.
        read: opens it; any size.
    """

    image: str
    denoise: float
    read: Callable[[], Image.Image] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Shot:
    """What one picture is drawn from, beside the model and the options."""

    prompt: str
    negative: str
    seed: int
    begin: Begin | None = None

    @property
    def denoise(self) -> float | None:
        """Denoising strength; None: from noise alone."""
        return self.begin.denoise if self.begin else None
