"""The demo's character drawn with several LoRAs and judged as the flow judges epochs."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from demo.project import MODELS, write_project
from lora_core.captions.caption import caption
from lora_core.captions.rule_file import rules_for
from lora_core.hub import find_model_files
from lora_core.images.collect import collect
from lora_core.images.pipeline import preprocess
from lora_core.judging.verdict import Verdict, judge_epochs, read_verdict
from lora_core.progress import silent
from lora_core.recipe import Process
from lora_core.recipe_file import read_recipe
from lora_core.refs import CheckpointRef, LoraRef, ReportRef
from lora_core.sampling.epochs import sample_epochs
from lora_core.sampling.sampler import SamplerConfig
from lora_core.store import Store
from lora_core.tagging.select import select, thresholds
from lora_core.tagging.tag import tag

PROMPTS = (
    "{trigger}, 1girl, solo, upper body, smile, grass, outdoors",
    "{trigger}, 1girl, solo, portrait, open mouth, night, starry sky",
    "{trigger}, 1girl, solo, upper body, smile, indoors, window",
    "{trigger}, 1girl, solo, portrait, surprised, open mouth, floral background",
    "{trigger}, 1girl, solo, upper body, frown, closed mouth, sky, cloud, outdoors",
    "{trigger}, 1girl, solo, portrait, smile, closed mouth, grass, outdoors",
    "{trigger}, 1girl, solo, upper body, open mouth, night, starry sky, outdoors",
    "{trigger}, 1girl, solo, portrait, frown, indoors, window",
)
SEEDS = (1, 2)
WEIGHT = 1.5
"""What these four were chosen at: their small base needs more than 1."""


def judged(folder: Path, store: Store, loras: Mapping[str, Path]) -> tuple[Verdict, ReportRef]:
    """The verdict on LoRAs that stand as epochs 1, 2, … in their order, and the samples it was read from.

    Args:
        folder: for the demo's project.
        store: for everything else.
        loras: name → file.
    """
    recipe = read_recipe(write_project(folder, store.root))
    pictures = preprocess(store, collect(store, folder / "character"), recipe.preprocess)
    tagger = {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}
    rules, chosen = rules_for(recipe.captions, recipe.trigger), partial(select, least=thresholds(recipe.tagger))
    _, edited = caption(pictures, tag(store, pictures, tagger), rules, recipe.trigger, chosen)
    drawing = recipe.sampling.model_copy(update={"prompts": PROMPTS, "seeds": SEEDS, "weights": (WEIGHT,), "batch": 8})
    *earlier, last = loras.values()
    files = {f"four-{number:06d}.safetensors": path for number, path in enumerate(earlier, start=1)}
    lora = LoraRef(sha256=store.put_tree({**files, "four.safetensors": last}))
    base = CheckpointRef(sha256=store.put_tree(find_model_files(recipe.base.model, ""), how="refer"))
    config = SamplerConfig(recipe.base.clip_skip, Process(), "cpu")
    samples = sample_epochs(store, base, lora, drawing, config, trigger=recipe.trigger)
    verdict = judge_epochs(store, samples, pictures, edited, tagger, recipe.judging, silent)
    return read_verdict(store, verdict), samples
