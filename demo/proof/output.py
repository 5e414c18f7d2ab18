"""Runs a proof and writes what came of it, anew after every arm run that was not cached."""

import contextlib
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from demo.project import MODELS
from demo.proof import tables
from demo.proof.arms import NAIVE, PLAIN, RECOMMENDED
from demo.proof.blind import agreement_by_eye
from demo.proof.claims import best, claim_against
from demo.proof.coverage import Coverage, coverage, cube_of
from demo.proof.evaluate import arm_figures, base_levels, contrasts_of, differences, gate_rows, without_pilot
from demo.proof.forgetful import UNKNOWN_LOOK, asked
from demo.proof.lanes import lanes_here
from demo.proof.measures import ADHERENCE, IDENTITY, LEAK
from demo.proof.pictures import charts, overview, sheets, variant_sheets
from demo.proof.probe import PROBE_FILE
from demo.proof.results import Asked, Failed, Results, Setting
from demo.proof.run import Failure, Outcome, finished, run_all, store_of
from demo.proof.scope import Scope, drawn
from lora_core.errors import RecipeError
from lora_core.hub import find_model_files, find_tagger_files
from lora_core.recipe import Recipe
from lora_core.sampling.schedulers import settled
from lora_core.store.digests import canonical_json, digest_of, file_digest
from lora_core.store.files import disk_errors, write_atomically
from lora_core.store.locks import alone

RESULTS_FILE: Final = "results.json"
_PACKAGES: Final = ("headcanon", "torch", "diffusers", "transformers", "peft", "onnxruntime", "pillow", "numpy")


def prove(scope: Scope, out: Path, say: Callable[[str], None], lanes: int | None = None) -> Results:
    """Run every arm, write results.json, table.md, charts and sheets into `out`.

    Args:
        scope: what to run.
        out: folder for everything.
        say: takes a line.
        lanes: arm runs at once; None: as many as this machine has cores.

    Raises:
        RecipeError: an arm is no recipe.
        StoreError: the disk is full or `out` cannot be written.
    """
    at = store_of(out)
    runs = scope.arm_runs(drawn(scope, out / "world"))
    setting = setting_of(scope, runs[0].recipe)
    known = asked(scope, out, draw=True) if scope.aside == UNKNOWN_LOOK else ()
    done: list[Outcome] = []
    failed: list[Failure] = []
    for result in run_all(runs, scope, at, say, lanes or lanes_here()):
        if isinstance(result, Failure):
            failed.append(result)
            continue
        done.append(result)
        done.sort(key=lambda one: runs.index(one.run))  # lanes end in any order, figures have one
        if not result.cached:
            with one_writer(out):
                _write_results(out, results_of(scope, setting, done, failed))
    with one_writer(out):
        return _written(results_of(scope, setting, done, failed), done, known, out, say)


@contextlib.contextmanager
def one_writer(out: Path) -> Iterator[None]:
    """Several commands may run arms in one folder; what a page is written from is one command's."""
    with disk_errors(out), alone(out / ".writing", lambda _: None):
        yield


def collect(scope: Scope, out: Path, say: Callable[[str], None]) -> Results:
    """Write the same of those arm runs that are finished in `out`, wherever an arm was run; nothing is trained.

    Raises:
        RecipeError: none is finished.
    """
    runs = replace(scope, alike=True).arm_runs(drawn(scope, out / "world"))
    done = finished(runs, scope, store_of(out))
    if not done:
        raise RecipeError(
            f"{out}: no arm run is finished there with this version's steps; run `python -m demo.proof` first"
        )
    names = {one.run.arm.name for one in done}
    scope = replace(scope, arms=tuple(arm for arm in scope.arms if arm.name in names))
    known = asked(scope, out, draw=False) if scope.aside == UNKNOWN_LOOK else ()
    return _written(results_of(scope, setting_of(scope, runs[0].recipe), done, []), done, known, out, say)


def _written(
    results: Results, done: Sequence[Outcome], known: tuple[Asked, ...], out: Path, say: Callable[[str], None]
) -> Results:
    """The results with what takes a while, and the pictures, are written."""
    more = {} if results.setting.aside else {"coverage": _coverage(done), "agreement": agreement_by_eye()}
    whole = results.model_copy(update={"asked": known, **more})
    _write_results(out, whole)
    if done:
        store = store_of(out).open_store()
        wide = overview(store, done, _side_by_side(whole))
        pictures = {**charts(whole), **sheets(store, done), **variant_sheets(store, done)}
        pictures |= {"overview.png": wide} if wide else {}
        for name, picture in pictures.items():
            write_atomically(out / name, png(picture))
        say(f"wrote {out / RESULTS_FILE}, table.md and {', '.join(pictures)}")
    return whole


def _side_by_side(results: Results) -> list[str]:
    """The arms of the overview: of the main question; on a base that does not know the look, those of all pairs."""
    pairs = {pair for arm in results.arms for pair in arm.pairs}
    core = [arm.name for arm in results.arms if arm.core and not results.setting.aside]
    return core or [arm.name for arm in results.arms if pairs <= set(arm.pairs)]


def _coverage(done: Sequence[Outcome]) -> tuple[Coverage, ...]:
    """How well intervals cover where differences spread as those of the recommended arm; of two pairs at least."""
    less, _ = differences(RECOMMENDED, NAIVE, done)
    if len({row.place.pair for row in less}) < 2:
        return ()
    return tuple(
        one
        for name in (IDENTITY, LEAK, ADHERENCE)
        for one in coverage(name, cube_of([row.values[name] for row in less], [row.place for row in less]))
    )


def results_of(scope: Scope, setting: Setting, done: Sequence[Outcome], failed: Sequence[Failure]) -> Results:
    """What the arm runs so far say."""
    by_arm = {arm.name: [outcome for outcome in done if outcome.run.arm.name == arm.name] for arm in scope.arms}
    measured = [arm for arm in scope.arms if by_arm[arm.name]]
    contrasts = contrasts_of(measured, done)
    arms = tuple(arm_figures(arm, by_arm[arm.name]) for arm in measured)
    return Results(
        best=best(arms, contrasts),
        claim=claim_against(one for one in contrasts if one.arm == RECOMMENDED and one.against in PLAIN),
        setting=setting,
        levels=base_levels(done),
        arms=arms,
        gates=gate_rows(done),
        contrasts=contrasts,
        without_pilot=without_pilot(done),
        coverage=(),
        agreement=None,
        failed=tuple(Failed(run=one.run.label, error=one.error) for one in failed),
    )


def setting_of(scope: Scope, recipe: Recipe) -> Setting:
    """How to run it again, and with what it was run."""
    sampling = recipe.sampling
    arms = [arm.name for arm in scope.arms]
    flags = ["--quick"] * scope.quick + ([f"--{scope.aside}"] if scope.aside else [])
    words = ["python", "-m", "demo.proof", *flags, "--arms", *arms]
    words += ["--pairs", *(pair.name for pair in scope.pairs), "--seeds", str(len(scope.seeds))]
    base = {name: file_digest(path) for name, path in find_model_files(recipe.base.model, "").items()}
    models = {
        "base": digest_of(canonical_json(base)),
        "tagger": file_digest(find_tagger_files(str(MODELS / "tagger"), "")["model.onnx"]),
        "look probe": file_digest(PROBE_FILE),
    }
    return Setting(
        command=shlex.join(words),
        quick=scope.quick,
        versions={"Python": platform.python_version(), **_versions()},
        models=models,
        pairs=tuple(f"{pair.target} (look from {pair.style}, {pair.finish})" for pair in scope.pairs),
        training_seeds=scope.seeds,
        sampling_seeds=sampling.seeds,
        prompts=sampling.prompts,
        sampling=f"{settled(sampling, zero_terminal_snr=False).scheduler}, {sampling.steps} steps, "
        f"CFG {sampling.cfg:g}, {sampling.width}×{sampling.height}",
        gate_prompts=scope.gate_prompts,
        aside=scope.aside,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _write_results(out: Path, results: Results) -> None:
    write_atomically(out / RESULTS_FILE, (results.model_dump_json(indent=2) + "\n").encode())
    write_atomically(out / "table.md", tables.whole(results).encode())


def png(picture: Image.Image) -> bytes:
    """A picture as a file."""
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
