"""What a training imports, imported at once.

Two threads that import one package for the first time see it half made: transformers and diffusers make their names
when they are asked for. So a thread that trains beside another must find everything there.
"""

import contextlib
import importlib

from PIL import Image

from lora_core.recipe import Training

_PUT_OFF = (
    "lora_core.training.board",
    "numpy.ctypeslib",
    "numpy.ma",
    "peft.utils.transformers_weight_conversion",
    "torch.profiler._cupti_monitor",
)
"""What this library and others import only when it is used; found by a test that watches a training's thread."""


def import_all(options: Training) -> None:
    """Import what a training needs: some seconds for the first call. To be called in the main thread.

    What is missing is told by the step that needs it.
    """
    from lora_core.training import run  # noqa: F401
    from lora_core.training.optim import optimizer_class

    Image.init()
    for name in _PUT_OFF:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.suppress(ImportError):
        optimizer_class(options.optimizer)
