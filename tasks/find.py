"""Find what a recipe names: screenshots, the base model, the tagger. Always looked at, never cached."""

from collections.abc import Iterable
from pathlib import Path

from lora_core.dataset import save_manifest
from lora_core.diffusion.read import read_source
from lora_core.diffusion.source import refuse_without_vae
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.images.collect import collect_all
from lora_core.judging.character import CHARACTER, find_character_files
from lora_core.judging.onnx_models import find_classifier_files, find_embedder_files
from lora_core.recipe import Base, Judging, Recipe, Sampling, Tagger
from lora_core.recipe_file import looks_like_path
from lora_core.refs import CheckpointRef, DatasetRef, LoraRef
from lora_core.store import Store
from lora_core.store.digests import TAKES_A_WHILE_BYTES
from tasks.runtime import RunContext, progress, say
from tasks.walking import helper, idle_walk


@helper(peek="run")
def find_screenshots(folders: tuple[str, ...], at: RunContext) -> DatasetRef:
    """Take the pictures of one folder or several into the store, as they are."""
    store = at.open_store()
    return save_manifest(store, collect_all(store, [Path(folder) for folder in folders]))


def find_sets(recipe: Recipe, at: RunContext) -> tuple[DatasetRef | None, DatasetRef]:
    """Style and character screenshots, outside of a flow; no style: the recipe names none."""
    style = find_screenshots(recipe.style.folders, at) if recipe.style.folders else None
    return style, find_screenshots(recipe.character.folders, at)


@helper(peek="run")
def find_base(options: Base, at: RunContext, vae_option: str = "[base] vae") -> CheckpointRef:
    """Find a base model's files and refuse what cannot be trained; they stay where they are."""
    files = find_model_files(options.model, options.revision, options.vae)
    refuse_without_vae(read_source(files, options.process), vae_option)
    store = at.open_store()
    _read_once(Path(options.model).name, files.values(), store)
    return CheckpointRef(sha256=store.put_tree(files, how="refer"))


def _read_once(name: str, files: Iterable[Path], store: Store) -> None:
    """Let the store learn large files' digests, with a bar."""
    sizes = {path: store.unread_bytes([path]) for path in files}
    if (total := sum(sizes.values())) <= TAKES_A_WHILE_BYTES:
        return
    say(f"reading {name} once ({total / 1e9:.1f} GB), to know it again")
    with progress(f"read {name}", "megabyte") as listen:
        before = 0
        for path, size in sizes.items():
            store.digest_of_file(path, lambda done, _, note="", before=before: listen(before + done, total // 10**6))
            before += size // 10**6


@helper(peek="run")
def find_tagger(options: Tagger, at: RunContext) -> CheckpointRef:
    """Find the tagger's model and label table; they stay where they are."""
    files = find_tagger_files(options.model, options.revision)
    return CheckpointRef(sha256=at.open_store().put_tree(files, how="refer"))


@helper(peek="run")
def find_classifier(options: Judging, at: RunContext) -> CheckpointRef | None:
    """Find the auxiliary classifier's files, if there is one; they stay where they are."""
    if not options.classifier:
        return None
    return CheckpointRef(sha256=at.open_store().put_tree(find_classifier_files(Path(options.classifier)), how="refer"))


@helper(peek="run")
def find_embedder(options: Judging, at: RunContext) -> CheckpointRef | None:
    """Find the image encoder's files and the character model's, if there are any; they stay where they are."""
    files = find_embedder_files(Path(options.embedder)) if options.embedder else {}
    if options.character_model:
        found = find_character_files(Path(options.character_model))
        files |= {CHARACTER + name: path for name, path in found.items()}
    return CheckpointRef(sha256=at.open_store().put_tree(files, how="refer")) if files else None


@helper(peek="run")
def find_start(recipe: Recipe, base: CheckpointRef, at: RunContext) -> LoraRef | None:
    """Find the LoRA that stage 3 begins with, where that is the version published last; None: a new one.

    Raises:
        PublishError: it does not fit the recipe.
    """
    from lora_core.report.publish import to_start_from

    if recipe.character_training.start == "new":
        return None
    last = to_start_from(Path(recipe.runtime.out), recipe, base)
    return LoraRef(sha256=at.open_store().put_tree({last.name: last})) if last else None


def further_bases(options: Sampling, at: RunContext) -> tuple[tuple[str, CheckpointRef], ...]:
    """The further bases that the chosen epoch is drawn on, by name without folders.

    Raises:
        RecipeError: a hub repository without its commit.
        CheckpointError: no such model.
    """
    found: list[tuple[str, CheckpointRef]] = []
    if idle_walk():
        return ()
    for text in options.transfer:
        name, at_sign, revision = text.rpartition("@") if not looks_like_path(text) else (text, "", "")
        model, commit = (name, revision) if at_sign else (text, "")
        vae = options.transfer_vae
        if vae and "vae" in read_source(find_model_files(model, commit)).parts:
            vae = ""  # its own
        base = find_base(Base(model=model, revision=commit, vae=vae), at, "[sampling] transfer_vae")
        found.append((Path(model).name, base))
    return tuple(found)
