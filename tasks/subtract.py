"""The style LoRA out of the character's, for the method `difference`."""

from lora_core.recipe import Difference
from lora_core.refs import LoraRef
from tasks.caching import current_key, step
from tasks.runtime import RunContext, progress


@step("subtract")
def subtract(whole: LoraRef, style: LoraRef, options: Difference, at: RunContext) -> LoraRef:
    """Every epoch of the LoRA of look and character, minus the style LoRA's last; what else lies there stays."""
    from lora_core.lora.algebra import Size
    from lora_core.lora.combine import Term
    from lora_core.lora.combine import subtract as subtract_lora
    from lora_core.progress import silent
    from lora_core.sampling.epochs import epoch_files

    store, key = at.open_store(), current_key()
    store.drop_work(key)
    last, epochs = epoch_files(store, style)[-1], epoch_files(store, whole)
    part = Term(store.path(last.sha256), options.weight, last.file)
    files = store.tree(whole.sha256)
    with progress("subtract", "epoch") as listen:
        for done, epoch in enumerate(epochs, 1):
            out = store.work_folder(key) / epoch.file
            made = subtract_lora(
                Term(files[epoch.file], name=epoch.file), part, out, Size(rank=options.rank), "auto", silent
            )
            files[epoch.file] = out
            listen(done, len(epochs), f"{made.energy:.1%} of the energy kept")
    difference = LoraRef(sha256=store.put_tree(files))
    store.drop_work(key)
    return difference
