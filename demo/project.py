"""The demo as a user's project: two folders of screenshots and a recipe, to be run, read and edited."""

from pathlib import Path
from typing import Final

from demo.world import STYLE, TARGET, Character, screenshots
from lora_core.store.files import replacing, write_atomically

MODELS: Final = Path(__file__).parent / "models"

_RECIPE: Final = """\
# The demo: Momo, a pink-haired cat girl "made in a 3D creator", and a very different style character.
# The base model and the tagger are tiny and were trained on drawn pictures (demo/models/README.md), so the sizes and
# learning rates are theirs, and the style pictures have words; all else is the method's. Edit it and run it again:
#
#   headcanon run {recipe}

name = "momo"
trigger = "momo"
base = '{base}'
character = "character"

[style]
images = "style"
captions = "tags"   # the look is learned, the style character less; the method has none (docs/proof.md)

[tagger]
model = '{tagger}'

[preprocess]
size = 256

[captions]
memorize = ["pink_hair", "twintails", "cat_ears", "green_eyes"]

[downscale]
size = 96

[style_training]
resolution = 128
batch = 8
unet_lr = 1e-3
text_encoder_lr = 2e-4

[character_training]
resolution = 128
batch = 8
unet_lr = 4e-4
text_encoder_lr = 1e-4

[sampling]
prompts = [
    "{{trigger}}, 1girl, solo, upper body, smile, grass, day",
    "{{trigger}}, 1girl, solo, portrait, open mouth, night",
    "{{trigger}}, 1girl, solo, upper body, smile, indoors, window",
]
style_prompts = [
    "1girl, solo, upper body, smile, grass, outdoors",
    "1girl, solo, portrait, night, starry sky, outdoors",
    "1girl, solo, cowboy shot, blonde hair, red dress, dress, indoors, window",
    "1girl, solo, close-up, open mouth, floral background",
    "1girl, solo, upper body, white hair, ponytail, red eyes, sky, cloud, outdoors",
    "1girl, solo, cowboy shot, green hair, twin braids, braid, frown",
    "1girl, solo, upper body, black hair, short hair, blue hoodie, hoodie",
    "1girl, solo, portrait, blue hair, hair flower, hair ornament",
    "1girl, solo, upper body, from side, brown hair, long hair, smile",
    "1girl, solo, portrait, dark skin, pointy ears, surprised, open mouth",
    "1girl, solo, cowboy shot, cat ears, animal ears, yellow dress, dress",
    "1girl, solo, upper body, closed eyes, smile",
    "1girl, solo, portrait, one eye closed, red hair, twintails",
    "1girl, solo, cowboy shot, from above",
    "1girl, solo, upper body, from below, purple eyes, white dress, dress",
    "1girl, solo, portrait, bear ears, animal ears, brown eyes",
    "1girl, solo, close-up, frown, closed mouth",
    "1girl, solo, cowboy shot, black hoodie, hoodie, short hair",
    "1girl, solo, upper body, pink hair, ponytail, surprised",
    "1girl, solo, portrait, yellow eyes, green dress, dress",
]
negative = ""
width = 128
height = 128
steps = 20
cfg = 3.0
batch = 6
weights = [1.0, 1.5]   # this small base needs more than the default's [0.6, 0.8, 1.0]

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
    _draw(TARGET, folder / "character", seed=1)
    _draw(STYLE, folder / "style", seed=5)
    recipe = folder / "recipe.toml"
    if not recipe.exists():
        text = _RECIPE.format(recipe=recipe, base=MODELS / "base", tagger=MODELS / "tagger", store=store.absolute())
        write_atomically(recipe, text.encode())
    return recipe


def _draw(character: Character, folder: Path, seed: int) -> None:
    """Draw into a folder that is renamed when it is complete: a killed demo leaves no half set behind."""
    if folder.exists():
        return
    with replacing(folder) as unfinished:
        screenshots(character, unfinished, seed)
