"""Which scores become tags."""

from collections.abc import Mapping

from lora_core.dataset import Scores


def select(scores: Scores, threshold: float) -> dict[str, float]:
    """Tags at or above the threshold, best first; ratings never count.

    As the web UI's tagger does it: one threshold over general tags and names alike.
    """
    together = {**scores.general, **scores.character}
    return ranked({name: score for name, score in together.items() if score >= threshold})


def ranked(scores: Mapping[str, float]) -> dict[str, float]:
    """Best first; equal scores by name, so that the order never depends on the table's."""
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))
