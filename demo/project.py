"""The demo as a user's project: a folder of screenshots and a recipe, to be run, read and edited."""

from pathlib import Path
from typing import Final

from demo.world import TARGET, Character, screenshots
from lora_core.store.files import replacing, write_atomically

MODELS: Final = Path(__file__).parent / "models"

_RECIPE: Final = """\
# The demo: Momo, a pink-haired cat girl "made in a 3D creator". The method is the one that docs/proof.md found best
# where a base knows words for the 3D look: captions that name it, then a redraw. The base model and the tagger are tiny
# and were trained on drawn pictures (demo/models/README.md), so sizes, learning rates and words are theirs. Edit it and
# run it again:
#
#   headcanon run {recipe}

name = "momo"
trigger = "momo"
method = "captions-only"
base = '{base}'
character = "character"

[tagger]
model = '{tagger}'

[preprocess]
size = 256

[captions]
memorize = ["pink_hair", "twintails", "cat_ears", "green_eyes"]

[downscale]
size = 96

[character_training]
resolution = 128
epochs = 4
batch = 8
unet_lr = 1e-3
text_encoder_lr = 2e-4

[redraw]
use = true
candidates = 100
epochs = 8
clothes = [
    "red dress, dress", "blue hoodie, hoodie", "white dress, dress", "green hoodie, hoodie", "yellow dress, dress",
    "black hoodie, hoodie", "purple dress, dress", "red hoodie, hoodie",
]
poses = [
    "straight-on, smile, closed mouth", "straight-on, smile, open mouth", "straight-on, surprised, open mouth",
    "straight-on, frown, closed mouth", "from side, smile, closed mouth", "from side, smile, open mouth",
    "from above, smile, closed mouth", "from below, frown, closed mouth",
]
scenes = [
    "sky, cloud, outdoors", "grass, outdoors", "night, starry sky, outdoors", "indoors, window", "floral background",
    "white background, simple background",
]

[sampling]
prompts = [
    "{{trigger}}, 1girl, solo, upper body, straight-on, smile, closed mouth, grass, outdoors, purple dress, dress",
    "{{trigger}}, 1girl, solo, portrait, straight-on, smile, open mouth, night, starry sky, outdoors",
    "{{trigger}}, 1girl, solo, cowboy shot, straight-on, frown, closed mouth, indoors, window, yellow hoodie, hoodie",
    "{{trigger}}, 1girl, solo, upper body, from side, smile, closed mouth, floral background",
    "{{trigger}}, 1girl, solo, portrait, straight-on, smile, closed mouth, sky, cloud, outdoors, red hoodie, hoodie",
    "{{trigger}}, 1girl, solo, upper body, from above, smile, open mouth, indoors, window, blue dress, dress",
]
negative = ""
width = 128
height = 128
steps = 20
cfg = 3.0
batch = 6
weights = [1.0]

[runtime]
out = ".."
store = '{store}'
processes = 2             # so small a model hardly gains by a second core, but two processes do
"""


def write_project(folder: Path, store: Path) -> Path:
    """Write screenshots and recipe where they are missing; what is there, edited or not, stays.

    Returns:
        The recipe's path.
    """
    draw(TARGET, folder / "character", seed=1)
    recipe = folder / "recipe.toml"
    if not recipe.exists():
        text = _RECIPE.format(recipe=recipe, base=MODELS / "base", tagger=MODELS / "tagger", store=store.absolute())
        write_atomically(recipe, text.encode())
    return recipe


def draw(character: Character, folder: Path, seed: int) -> None:
    """Draw into a folder that is renamed when it is complete: a killed demo leaves no half set behind."""
    if folder.exists():
        return
    with replacing(folder) as unfinished:
        screenshots(character, unfinished, seed)
