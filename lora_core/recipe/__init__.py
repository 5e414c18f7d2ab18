"""Every option, one frozen model per step. Defaults are the method's own numbers (docs/method.md).

Where the method leaves a number open, the field's description says what was chosen and why. The models are closed: an
unknown key is an error (`recipe_file.py`). There is no Optional, no union and no dict, so that the same
models make a readable form in Prefect's UI: an empty text or a zero means "not set".
"""

from lora_core.methods import Method
from lora_core.recipe.evaluation import Gates, Judging, Mode, Publish, Sampling
from lora_core.recipe.models import Base, Process, Reading, Tagger
from lora_core.recipe.network import Network, Noise
from lora_core.recipe.options import Options
from lora_core.recipe.pictures import (
    COMPOSITIONS,
    LEAK_TAGS,
    Captions,
    Character,
    Composition,
    Downscale,
    Outfit,
    Preprocess,
    ShotPlan,
    Style,
)
from lora_core.recipe.presets import PRESETS, in_words, of_folders
from lora_core.recipe.recipe import (
    PATHS,
    Difference,
    PathField,
    Recipe,
    Runtime,
    Speed,
    with_paths,
)
from lora_core.recipe.redraw import Redraw
from lora_core.recipe.training import CharacterTraining, Merge, OptimizerName, Regularization, StyleTraining, Training

__all__ = (
    "COMPOSITIONS",
    "LEAK_TAGS",
    "PATHS",
    "PRESETS",
    "Base",
    "Captions",
    "Character",
    "CharacterTraining",
    "Composition",
    "Difference",
    "Downscale",
    "Gates",
    "Judging",
    "Merge",
    "Method",
    "Mode",
    "Network",
    "Noise",
    "OptimizerName",
    "Options",
    "Outfit",
    "PathField",
    "Preprocess",
    "Process",
    "Publish",
    "Reading",
    "Recipe",
    "Redraw",
    "Regularization",
    "Runtime",
    "Sampling",
    "ShotPlan",
    "Speed",
    "Style",
    "StyleTraining",
    "Tagger",
    "Training",
    "in_words",
    "of_folders",
    "with_paths",
)
