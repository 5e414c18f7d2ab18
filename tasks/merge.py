"""The style LoRA, or a word for the look, into the base."""

from pathlib import Path

from lora_core.hub.find import OWN_WORDS, own_files
from lora_core.recipe import Merge
from lora_core.refs import CheckpointRef, LoraRef
from lora_core.store import Tree
from lora_core.store.files import write_atomically
from tasks.caching import current_key, step
from tasks.runtime import RunContext, progress
from tasks.walking import helper


@helper(peek="run")
def with_word(base: CheckpointRef, embedding: LoraRef, word: str, at: RunContext) -> CheckpointRef:
    """A base that reads a word by its trained vectors; its own files stay where they are."""
    store = at.open_store()
    files, trained = (Tree.model_validate(store.get_json(ref.sha256)).files for ref in (base, embedding))
    file = f"{word}.safetensors"
    tree = Tree(files=dict(sorted({**files, f"{OWN_WORDS}{file}": trained[file]}.items())))
    return CheckpointRef(sha256=store.put_json(tree.model_dump(mode="json")))


@step("merge")
def merge(base: CheckpointRef, lora: LoraRef, options: Merge, at: RunContext) -> CheckpointRef:
    """A base model that draws the 3D look, in the layout and dtype of the base."""
    from lora_core.lora.combine import Term
    from lora_core.lora.merge import merge_file
    from lora_core.sampling.epochs import epoch_files

    store, key = at.open_store(), current_key()
    store.drop_work(key)  # a merge has no state worth keeping: what a killed one left is half a model
    everything = store.tree(base.sha256)
    files = own_files(everything)
    name = "merged.safetensors" if len(files) == 1 else "merged"
    out = store.work_folder(key) / name
    last = epoch_files(store, lora)[-1]
    with progress("merge", "tensor") as listen:
        merge_file(files, [Term(store.path(last.sha256), options.weight, last.file)], out, listen)
    parts = {name: out} if out.is_file() else {file: out / file for file in files}
    for other in everything.keys() - files.keys():  # another VAE goes on to be used
        parts[other] = store.work_folder(key) / Path(other).name
        write_atomically(parts[other], everything[other].read_bytes())
    merged = CheckpointRef(sha256=store.put_tree(parts, how="move"))
    store.drop_work(key)
    return merged
