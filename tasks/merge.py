"""The style LoRA into the base."""

import lora_core.lora.merge as algebra
from lora_core.recipe import Merge
from lora_core.refs import CheckpointRef, LoraRef
from tasks.caching import current_key, step
from tasks.runtime import At, progress


@step("merge", version=1)
def merge(base: CheckpointRef, lora: LoraRef, options: Merge, at: At) -> CheckpointRef:
    """A base model that draws the 3D look, in the layout and dtype of the base."""
    store, key = at.open_store(), current_key()
    with progress("merge", "tensor") as listen:
        files = algebra.merge_into(
            store.tree(base.sha256), last_file(store.tree(lora.sha256)), store.work_folder(key), options.weight, listen
        )
        merged = CheckpointRef(sha256=store.put_tree(files))
    store.drop_work(key)
    return merged
