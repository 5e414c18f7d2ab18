"""How fast a GPU is made to work. Beyond last bits nothing here changes what comes out."""

from typing import Literal

from pydantic import Field

from lora_core.recipe.options import Options


class Speed(Options):
    """What may be done on a CUDA GPU to keep it busy; on the CPU only `compile = "on"` has an effect."""

    compile: Literal["auto", "on", "off"] = Field(
        default="off",
        title="Compile the U-Net",
        description="torch.compile for every size of picture and batch. auto: in a training, for sizes with so much "
        "left to do that compiling should pay; a line says what was chosen and why. Kernels are kept in the store, so "
        "the next training begins faster. Off until its gain is measured on a GPU (docs/performance.md).",
    )
    cuda_graphs: Literal["auto", "off"] = Field(
        default="off",
        title="CUDA graphs",
        description="Record a step's thousands of kernels once for every size and replay them: at small batches a GPU "
        "otherwise waits for them to be launched. auto: wherever the recipe allows it; a line says where it does not. "
        "Off until its gain is measured on a GPU (docs/performance.md).",
    )
    deterministic: bool = Field(
        default=False,
        title="Deterministic",
        description="On a GPU, choose the same kernels every time, so that a training that was killed ends in the same "
        "bytes: without TF32, graphs and compiling, so slower. On the CPU it is always so.",
    )
