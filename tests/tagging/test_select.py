"""Which scores become tags."""

from lora_core.dataset import Scores
from lora_core.tagging.select import select


def test_one_threshold_over_everything_but_ratings_best_first():
    scores = Scores(
        rating={"general": 0.99}, general={"sky": 0.5, "sea": 0.7, "tree": 0.49}, character={"hatsune_miku": 0.7}
    )
    assert list(select(scores, 0.5).items()) == [("hatsune_miku", 0.7), ("sea", 0.7), ("sky", 0.5)]
