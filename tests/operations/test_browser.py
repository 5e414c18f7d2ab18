"""As a person uses it: Prefect's UI in a browser, the form, the run, the contact sheet, a question between two stages.

What the browser saw is kept in the folder that `--basetemp` or pytest's own choice names, as PNGs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from running import PATIENCE_SECONDS, Up, wait_for

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make` brings it")
from chromium import chromium
from playwright.sync_api import Page, expect

_LIST = "http://127.0.0.1:{}/v2/deployments?sort=CREATED_DESC"
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.long]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 1300})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        expect.set_options(timeout=PATIENCE_SECONDS * 1000)
        yield page
        expect.set_options(timeout=5_000)


def _submit(up: Up, page: Page, form: str = "train-character", *, choose: Mapping[str, str] = {}, **fields: str) -> str:
    """Fill a form in and submit it; returns the run's id.

    Args:
        up: the server.
        page: of the browser.
        form: the deployment's name.
        choose: label of a dropdown → what is chosen there.
        fields: label → what is typed.
    """
    page.goto(_LIST.format(up.port))
    page.get_by_role("link", name=form, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Custom run").click()
    for name, text in fields.items():
        page.get_by_label(name).first.fill(text)
    for name, text in choose.items():
        page.get_by_label(name).first.click()
        page.get_by_role("option", name=text, exact=True).click()
    page.screenshot(path=up.project.folder / f"form-{form}.png", full_page=True)
    before = {run["id"] for run in up.post("flow_runs/filter")}
    page.get_by_role("button", name="Submit").click()
    new = wait_for(lambda: {run["id"] for run in up.post("flow_runs/filter")} - before, "the submitted run")
    return str(new.pop())


def _open(up: Up, page: Page, run: str, tab: str = "") -> None:
    page.goto(f"http://127.0.0.1:{up.port}/v2/runs/flow-run/{run}")
    if tab:
        page.get_by_role("tab", name=tab).click()


def test_a_person_fills_the_form_in_and_sees_the_lora_s_samples(up: Up, page: Page) -> None:
    run = _submit(up, page, character="momo")
    up.state(run, "Completed")
    _open(up, page, run, "Artifacts")
    expect(page.get_by_text("Completed").first).to_be_visible()
    page.screenshot(path=up.project.folder / "artifacts.png")
    page.get_by_text("headcanon-momo", exact=True).first.click()
    page.locator("a[href*='/artifacts/artifact/']").first.click()
    picture = page.locator("img[src^='data:image']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 100
    page.screenshot(path=up.project.folder / "samples.png")


def _artifacts(up: Up, run: str) -> dict[str, str]:
    """Key → id of a run's artifacts."""
    found = up.post("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
    return {one["key"]: one["id"] for one in found}


def test_the_whole_way_in_prefect_s_ui_alone_from_the_list_of_forms_to_the_files(up: Up, page: Page) -> None:
    page.goto(_LIST.format(up.port))
    expect(page.locator("tbody tr")).to_have_count(8)
    rows = [row.split() for row in page.locator("tbody tr").all_inner_texts()]
    assert [row[0] for row in rows[:2]] == ["train-character", "train-character-options"]
    assert [" ".join(row[-4:-2]) for row in rows[:2]] == ["short form", "main options"]
    page.screenshot(path=up.project.folder / "deployments.png")

    typed = {"character": "momo", "Epochs (character_training.epochs)": "9", "Pictures while training": "1"}
    run = _submit(
        up, page, "train-character-options", choose={"Method": "captions-only", "Sampler": "euler_a"}, **typed
    )
    made = up.run(run)
    assert made["name"] == "momo"
    assert made["parameters"]["options"] == {
        "method": "captions-only", "character_training__epochs": 9, "sampling__scheduler": "euler_a",
        "sampling__while_training": 1,
    }  # fmt: skip

    wait_for(lambda: "training-train-character" in _artifacts(up, run), "the artifact of the training")
    assert up.run(run)["state_name"] == "Running"
    page.goto(f"http://127.0.0.1:{up.port}/v2/artifacts/artifact/{_artifacts(up, run)['training-train-character']}")
    picture = page.locator("img[src^='data:image']").first
    expect(picture).to_be_visible()
    page.screenshot(path=up.project.folder / "training.png")

    up.state(run, "Completed")
    page.reload()
    expect(page.locator("img[src^='data:image/svg']")).to_be_visible()
    assert page.locator("img[src^='data:image/svg']").evaluate("image => image.naturalWidth") == 600
    page.screenshot(path=up.project.folder / "trained.png")
    _open(up, page, run)
    expect(page.get_by_text("Completed").first).to_be_visible()
    page.wait_for_timeout(3000)  # its picture of the run is drawn
    page.screenshot(path=up.project.folder / "run.png")
    page.get_by_role("tab", name="Logs").click()
    expect(page.get_by_text("train character:").first).to_be_visible()
    page.screenshot(path=up.project.folder / "logs.png")
    assert page.get_by_text("Finished in state").count() == page.get_by_text("Running hook").count() == 0

    page.goto(f"http://127.0.0.1:{up.port}/v2/artifacts/artifact/{_artifacts(up, run)['studio-result']}")
    page.get_by_role("link", name="The result: report, grid, files to download").click()
    page.wait_for_url("**/studio/out/momo*")
    expect(page.frame_locator("iframe[title^=Report]").get_by_role("heading", name="momo").first).to_be_visible()
    page.screenshot(path=up.project.folder / "result.png")


def test_a_preset_that_is_put_into_the_folder_is_a_choice_of_the_form_within_seconds(up: Up) -> None:
    (up.project.folder / "recipes" / "late.toml").write_text((up.project.folder / "recipes/default.toml").read_text())
    wait_for(lambda: "late" in up.presets(), "the new preset in the form")
    (up.project.folder / "recipes" / "late.toml").unlink()
    wait_for(lambda: "late" not in up.presets(), "the removed preset to go")
    assert "default" in up.presets()


def test_a_person_answers_a_question_between_two_stages(up: Up, page: Page) -> None:
    preset = up.project.folder / "recipes" / "default.toml"
    text = preset.read_text().replace('style = "off"', 'style = "ask"').replace("[gates]", "[gates]\nwait_minutes = 60")
    up.add_preset("ask", text)
    run = _submit(up, page, character="momo", choose={"preset": "ask"})
    up.state(run, "Suspended")
    _open(up, page, run)
    page.get_by_role("button", name="Open menu").last.click()
    page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Continue?")).to_be_visible()
    picture = dialog.locator("img[src^='data:image']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 100
    page.screenshot(path=up.project.folder / "question.png")
    dialog.get_by_role("button", name="Resume").click()
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the answered run to end")
    assert Path(up.project.folder / "question.png").stat().st_size > 10_000
