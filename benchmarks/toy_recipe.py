"""A recipe on the demo's models whose run takes seconds: what tests and benchmarks run again and again."""

from demo.project import MODELS

_TRAINING = """\
resolution = {px}
repeats = 1
epochs = 2
rank = 4
alpha = 2
batch = {batch}
unet_lr = 1e-3
checkpoint_minutes = 0.02
"""
_RECIPE = """
name = "momo"
trigger = "momo"
base = '{models}/base'
style = "style"
character = "character"
[tagger]
model = '{models}/tagger'
[preprocess]
size = {px}
[captions]
memorize = ["pink_hair", "twintails", "cat_ears", "green_eyes"]
[downscale]
size = {copies_px}
[style_training]
{training}[character_training]
{training}[sampling]
prompts = ["{{trigger}}, 1girl, solo, upper body, smile", "{{trigger}}, 1girl, solo, portrait"]
style_prompts = ["1girl, solo, upper body"]
negative = ""
seeds = [1]
steps = {steps}
weights = [1.0]
width = {px}
height = {px}
[gates]
style = "off"
merge = "off"
epoch = "off"
[runtime]
out = "out"
store = "store"
"""


def toy_recipe(px: int = 128, copies_px: int = 96, batch: int = 4, steps: int = 2) -> str:
    """The recipe's text; it names the folders `style` and `character` beside it.

    Args:
        px: sides of pictures, trained and drawn.
        copies_px: sides of the small copies.
        batch: pictures in a training step.
        steps: of drawing a sample.
    """
    training = _TRAINING.format(px=px, batch=batch)
    return _RECIPE.format(models=MODELS, px=px, copies_px=copies_px, training=training, steps=steps)
