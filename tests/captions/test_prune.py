"""`[captions] prune = false`: what the character is stays in the captions, to compare."""

from lora_core.captions.edit import edit
from lora_core.captions.rules import Rules


def test_without_pruning_traits_and_outfit_stay_and_the_other_edits_are_made(entry, scores, half):
    rules = Rules(memorize=("blonde_hair",), outfit=("red_dress",))
    pruned, whole = (
        set(edit(entry(), scores(), rules.model_copy(update={"prune": prune}), "hc_mina", half).tags)
        for prune in (True, False)
    )
    assert whole - pruned == {"blonde_hair", "brown_hair", "red_dress"}
    assert pruned < whole
    assert {"hc_mina", "realistic", "upper_body"} <= whole
