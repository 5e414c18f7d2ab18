"""The real flow on the demo world at a reduced size: what is cached, what is done again, what is refused."""

import base64
import json
import os
import pickle
import re
import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from small_project import Project, new_project
from step_outputs import outputs_of

from demo.project import MODELS
from flows.draw_more import draw_more
from lora_core.report.published import Published
from lora_core.store import Store
from lora_core.store.digests import file_digest
from lora_core.versions import VERSIONS

pytestmark = pytest.mark.slow

GOLDEN_STEPS = Path(__file__).parents[1] / "golden" / "steps.json"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn: Path, prefect_home: Path, api: str) -> Project:
    """A project that was run once."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", drawn, prefect_home, api)
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def copied(tmp_path: Path, finished: Project) -> Project:
    """That project with its store, to be changed; the published folder stays behind."""
    shutil.copytree(finished.folder, tmp_path / "project", ignore=shutil.ignore_patterns("out"))
    return replace(finished, folder=tmp_path / "project")


_TELL_IMPORTS = "import atexit, sys; atexit.register(lambda: print(*sys.modules))"


def steps_done(stderr: str) -> tuple[str, ...]:
    """Steps that were not cached, by the line each prints at its end."""
    return tuple(re.findall(r"^✓ ([a-z ]+):", stderr, re.MULTILINE))


def test_a_run_leaves_the_lora_every_epoch_the_checks_and_a_report(finished: Project) -> None:
    folder = finished.lora.parent
    report = json.loads((folder / "report.json").read_text())
    chosen = report["verdict"]["choice"]["file"]
    assert file_digest(finished.lora) == file_digest(folder / "epochs" / chosen)
    expected = {
        "momo.safetensors", "momo.png", "momo.json", "README.md", "report.html", "report.json",
        "epochs/momo-000001.safetensors", "epochs/momo.safetensors", "samples/grid.png", "samples/none/0-1.png",
        "samples/1-w1/0-1.png", "samples/2-w1/1-1.png", "prompts.txt", "checks/style/grid.png", "checks/merge/grid.png",
        "checks/merge/gate.json", "checks/style-lora/style.safetensors",
    }  # fmt: skip
    assert expected <= {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _drawn_more(project: Project, *prompts: str, **asked: Any) -> Any:
    """What `draw-more` returns for the project's LoRA: the folder, or the state of a run that was refused."""
    with pytest.MonkeyPatch.context() as patched, temporary_settings({PREFECT_API_URL: project.api}):
        for name, folder in (("HOME", "."), ("OUT_PATH", "out"), ("STORE_PATH", "store")):
            patched.setenv(f"HEADCANON_{name}", str(project.folder / folder))
        return draw_more.fn(**{"result": "momo", "prompts": prompts, **asked})


def test_more_is_drawn_of_a_published_lora_and_what_was_drawn_before_is_found_again(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, known, new = finished.lora.parent, "{trigger}, 1girl, solo, portrait", "{trigger}, 1girl, beach"
    with monkeypatch.context() as patched:
        patched.setattr("lora_core.sampling.sampler.load_for_drawing", None)  # nothing needs the base
        drawn = Path(_drawn_more(finished, known, epochs=(2,), weights=(1.0,)))
    assert file_digest(drawn / "samples/2-w1/0-1.png") == file_digest(folder / "samples/2-w1/1-1.png")
    drawn = Path(_drawn_more(finished, known, new, epochs=(1, 2), weights=(0.5, 1.0)))
    (newest, listed), _ = Published(folder).drawn
    assert folder / newest == drawn
    assert [(one.prompt, one.epoch, one.weight, one.seed) for one in listed.samples] == [
        (prompt.replace("{trigger}", "momo"), epoch, weight, 1)
        for epoch in ("1", "2") for weight in (0.5, 1.0) for prompt in (known, new)
    ]  # fmt: skip
    assert all((drawn / one.file).is_file() for one in listed.samples)
    assert "has no epoch 3; there are 1, 2" in _drawn_more(finished, known, epochs=(3,)).message
    assert "there are: momo" in _drawn_more(finished, known, result="nobody").message
    assert "content rule" in _drawn_more(finished, "{trigger}, child", "{trigger}, nude").message


def test_a_second_run_finds_everything_finished(finished: Project) -> None:
    """And the server shows each step as cached; nothing that only work needs is imported."""
    before = _task_states(finished.api)
    again = finished.run_alone("run", "recipe.toml", first=_TELL_IMPORTS)
    assert again.returncode == 0, again.stderr
    assert steps_done(again.stderr) == ()
    assert again.stderr.count(": cached") == 15
    assert not {"torch", "diffusers", "transformers", "onnxruntime"} & set(again.stdout.split())
    deadline = time.monotonic() + 60
    while (states := _task_states(finished.api) - before)["Cached"] < 15 and time.monotonic() < deadline:
        time.sleep(1)  # Prefect sends its events some time after
    assert states["Cached"] == 15
    assert states["Completed"] == 1  # publish: small helpers are no task runs


def test_a_step_with_another_output_has_another_version(finished: Project) -> None:
    """The golden table holds each step's version and the digest of what it puts out on the demo world."""
    table: dict[str, tuple[int, str]] = json.loads(GOLDEN_STEPS.read_text())
    found = {step: [VERSIONS[step], digest] for step, digest in outputs_of(Store(finished.folder / "store")).items()}
    for step, (version, digest) in found.items():
        known_version, known_digest = table.get(step, (0, ""))
        advice = "" if version != known_version else f"raise the version of {step!r} in lora_core/versions.py, and "
        assert (version, digest) == (known_version, known_digest), (
            f"{step} puts out something else: {advice}update tests/golden/steps.json to {step!r}: {[version, digest]}"
        )
    # This recipe has no further base, no difference and a method of its own, and does not redraw.
    assert found.keys() == table.keys() == VERSIONS.keys() - {"transfer", "subtract", "redraw", "select", "look"}


def test_the_dry_run_of_a_finished_project_says_that_all_is_cached(finished: Project) -> None:
    plan = finished.run("run", "recipe.toml", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "to do" not in plan.stdout
    assert plan.stdout.count("cached") == 14
    assert re.search(r"regularization \(weight 1\) +4 +128 +1 → 3-3 +12 +4 of 4", plan.stdout)


def test_touching_a_caption_rule_does_neither_tagging_nor_the_style_stage_again(copied: Project) -> None:
    recipe = copied.recipe.read_text()
    copied.recipe.write_text(recipe.replace('"green_eyes"]', '"green_eyes"]\ndrop = ["smile", "blush"]'))
    again = copied.run("run", "recipe.toml", "--until", "train character")
    assert again.returncode == 0, again.stderr
    done = steps_done(again.stderr)
    assert {"caption", "train character"} <= set(done)
    assert not {"tag", "preprocess", "train style", "merge", "check style", "check merge"} & set(done)


def test_adding_one_screenshot_processes_one_picture(copied: Project, drawn: Path) -> None:
    records = copied.folder / "store" / "records"
    before = set(records.rglob("*.json"))
    shutil.copy(drawn / "more" / "portrait_005.png", copied.folder / "character")
    again = copied.run("run", "recipe.toml", "--until", "preprocess")
    assert again.returncode == 0, again.stderr
    new = [path for path in set(records.rglob("*.json")) - before if b'"image"' in path.read_bytes()]
    assert len(new) == 1


def test_an_artifact_that_was_deleted_is_made_again_and_only_that(copied: Project) -> None:
    merged = max((copied.folder / "store" / "objects").rglob("*"), key=lambda path: path.stat().st_size)
    merged.unlink()
    again = copied.run("run", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert steps_done(again.stderr) == ("merge",)


def test_a_base_model_changed_in_place_with_its_size_and_time_kept_is_noticed(copied: Project) -> None:
    base = Path(shutil.copytree(MODELS / "base", copied.folder / "base"))
    copied.recipe.write_text(copied.recipe.read_text().replace(f"'{MODELS / 'base'}'", "'base'"))
    assert "to do" not in copied.run("run", "recipe.toml", "--dry-run").stdout
    weights = max(base.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    before = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([weights.read_bytes()[-1] ^ 1]))
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    planned = copied.run("run", "recipe.toml", "--dry-run").stdout
    # How long it will take is known from the run before.
    assert re.search(r"train style +to do, about \d", planned), planned
    assert re.search(r"Training and drawing: about \d.* at this machine's own pace", planned), planned
    assert re.search(r"Disk: about \d.* will be written, \d.* are free", planned), planned


def test_a_stray_file_in_the_folder_trains_nothing_again(copied: Project) -> None:
    (copied.folder / "style" / "Thumbs.db").write_bytes(b"x")
    again = copied.run("run", "recipe.toml", "--until", "train character")
    assert again.returncode == 0, again.stderr
    assert not [step for step in steps_done(again.stderr) if step.startswith("train")]


def test_an_output_made_from_other_inputs_is_not_overwritten(finished: Project, tmp_path: Path) -> None:
    project = replace(finished, folder=Path(shutil.copytree(finished.folder, tmp_path / "project")))
    before = file_digest(project.lora)
    other = project.folder / "other.toml"
    other.write_text(project.recipe.read_text().replace("seeds = [1]", "seeds = [2]"))
    refused = project.run("run", "other.toml")
    assert refused.returncode == 2
    assert "momo.safetensors: exists and was made from other inputs" in refused.stderr.splitlines()[-1]
    planned = project.run("run", "other.toml", "--dry-run")
    assert (planned.returncode, planned.stderr.splitlines()[-1]) == (2, refused.stderr.splitlines()[-1])
    assert "Steps" in planned.stdout, "the plan is shown all the same"
    ends_before = project.run("run", "other.toml", "--until", "judge")
    assert ends_before.returncode == 0, ends_before.stderr
    beside = project.run("run", "other.toml", "--as", "v2")
    assert beside.returncode == 0, beside.stderr
    assert steps_done(beside.stderr) == ("report",)
    told = "momo was judged on other prompts or another base; the new version is not compared with it"
    assert told in " ".join(beside.stderr.split())
    assert (project.folder / "out" / "momo-v2" / "momo-v2.safetensors").exists()
    assert file_digest(project.lora) == before


def test_a_further_version_that_is_worse_is_held_back_with_its_report(finished: Project, tmp_path: Path) -> None:
    """The published scores are made better than any LoRA of two steps can be."""
    shutil.copytree(finished.folder, tmp_path / "project", ignore=shutil.ignore_patterns("momo-v2*"))
    project = replace(finished, folder=tmp_path / "project")
    published = project.lora.parent / "report.json"
    report = json.loads(published.read_text())
    for epoch in report["verdict"]["measured"]["epochs"]:
        epoch["scores"]["identity"] = {"mean": 0.99, "low": 0.98, "high": 1.0, "samples": 8}
    published.write_text(json.dumps(report))
    held = project.run("run", "recipe.toml", "--as", "v2")
    assert held.returncode == 2, held.stderr
    told = " ".join(held.stderr.split())
    assert re.search(r"compared with momo: identity [-0-9.]+, at least 0\.94; momo stays the last", told), told
    assert not (published.parents[1] / "momo-v2").exists()
    page = (published.parents[1] / "momo-v2.held-back.html").read_text()
    assert "Is it at least as good as the last version?" in page
    project.recipe.write_text(project.recipe.read_text().replace("[gates]", '[gates]\nsuccessor = "off"'))
    published_all_the_same = project.run("run", "recipe.toml", "--as", "v2")
    assert published_all_the_same.returncode == 0, published_all_the_same.stderr
    assert (published.parents[1] / "momo-v2" / "momo-v2.safetensors").exists()


def _step_records(project: Project) -> dict[str, dict[str, Any]]:
    """Key → what the record of a finished step says."""
    records = [json.loads(path.read_bytes()) for path in (project.folder / "store" / "records").rglob("*.json")]
    return {one["key"]: one["value"] for one in records if isinstance(one["value"], dict) and "ref" in one["value"]}


def _as_an_earlier_version_kept_it(project: Project) -> Path:
    """The store with its finished steps in Prefect's records, and none of ours; returns their folder."""
    results = project.folder / "store" / "results"
    results.mkdir()
    for key, known in _step_records(project).items():
        (project.folder / "store" / "records" / key[:2] / f"{key}.json").unlink()
        data = {"__class__": f"lora_core.refs.{known['ref']['kind'].capitalize()}Ref", "data": known["ref"]}
        metadata = {
            "storage_key": f"/another/machine/store/results/{key}",
            "expiration": None,
            "serializer": {"type": "json", "jsonlib": "json"},
            "prefect_version": "3.8.8",
            "storage_block_id": None,
        }
        (results / key).write_text(json.dumps({"metadata": metadata, "result": json.dumps(data)}))
    return results


def test_steps_that_an_earlier_version_finished_are_not_done_again(copied: Project) -> None:
    results = _as_an_earlier_version_kept_it(copied)
    again = copied.run("run", "recipe.toml")
    assert again.returncode == 0, again.stderr
    assert steps_done(again.stderr) == ()
    assert again.stderr.count(": cached") == 15
    assert len(ours := _step_records(copied)) == 15
    assert ours.keys().isdisjoint(path.name for path in results.iterdir())  # what earlier tests left may lie there


class _Touch:
    """What a pickle can do while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_records_that_name_code_to_run_run_none_and_are_missing(copied: Project) -> None:
    """As somebody would plant them who may write into a shared store."""
    results, marker = _as_an_earlier_version_kept_it(copied), copied.folder / "code ran"
    planted = base64.b64encode(pickle.dumps(_Touch(marker))).decode()
    for path in results.iterdir():
        record = json.loads(path.read_bytes())
        record["metadata"]["serializer"] = {"type": "pickle", "picklelib": "cloudpickle"}
        path.write_text(json.dumps({**record, "result": planted}))
        own = copied.folder / "store" / "records" / path.name[:2] / f"{path.name}.json"
        own.write_bytes(pickle.dumps(_Touch(marker)))
    planned = copied.run("run", "recipe.toml", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count("to do") > 0
    again = copied.run("run", "recipe.toml", "--until", "tag")
    assert again.returncode == 0, again.stderr
    assert ": cached" not in again.stderr
    assert not marker.exists()


def _task_states(api: str) -> Counter[str]:
    """How many task runs the server knows in each state."""
    states: Counter[str] = Counter()
    while more := httpx.post(
        f"{api}/task_runs/filter", json={"limit": 200, "offset": states.total(), "sort": "ID_DESC"}
    ).json():
        states.update(one["state_name"] for one in more)
    return states
