"""How many examples a property is tried on."""

from hypothesis import settings


def examples(count: int, **more: int) -> settings:
    """As many in `make test`, and as many times more as others in `make explore`.

    Args:
        count: of 100, which is what a test has that says nothing.
        more: other settings of Hypothesis.
    """
    return settings(max_examples=count * settings().max_examples // 100, **more)
