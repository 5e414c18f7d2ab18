"""Arms of a former proof beside those of a new one: an arm run again gives the same figures, so none is run twice."""

from typing import Final

from demo.proof.results import Results, RunFigures
from lora_core.errors import RecipeError

_SAME: Final = ("quick", "prompts", "sampling_seeds", "sampling", "aside")


def beside(now: Results, former: Results) -> Results:
    """A proof with the arms that a former one has and it lacks.

    Their runs, and what they are compared with, stay what they were.

    Raises:
        RecipeError: the two were not measured alike, or a run that both have came to other figures.
    """
    _check(now, former)
    had = {arm.name for arm in now.arms}
    lacking = tuple(arm for arm in former.arms if arm.name not in had)
    names = {arm.name for arm in lacking}
    return now.model_copy(
        update={
            "arms": (*now.arms, *lacking),
            "gates": (*now.gates, *(row for row in former.gates if names >= set(row.arms))),
            "contrasts": (*now.contrasts, *(one for one in former.contrasts if one.arm in names)),
            "asked": now.asked or former.asked,
            "former": tuple(arm.name for arm in lacking),
        }
    )


def _check(now: Results, former: Results) -> None:
    """That both measured alike, by what they say and by the runs that both have, in every figure that both have."""
    unlike = [name for name in _SAME if getattr(now.setting, name) != getattr(former.setting, name)]
    if unlike:
        raise RecipeError(f"the former results have other {', '.join(unlike)}; delete them, or run all arms again")
    new, old = _runs(now), _runs(former)
    for place in sorted(new.keys() & old.keys()):
        both = new[place].figures.keys() & old[place].figures.keys()
        if any(new[place].figures[name] != old[place].figures[name] for name in both):
            raise RecipeError(
                f"{place[0]} on {place[1]}, seed {place[2]}, came to other figures than in the former results; "
                "delete those, or run all arms again"
            )


def _runs(results: Results) -> dict[tuple[str, str, int], RunFigures]:
    return {(arm.name, run.pair, run.seed): run for arm in results.arms for run in arm.runs}
