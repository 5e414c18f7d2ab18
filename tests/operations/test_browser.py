"""As a person uses it: Prefect's UI in a browser, the form, the run, the contact sheet, a question between two stages.

What the browser saw is kept in the folder that `--basetemp` or pytest's own choice names, as PNGs.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PATIENCE_SECONDS, Up, wait_for

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make` brings it")
from chromium import chromium
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.long]


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1300, "height": 1300})
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        yield page


def _submit(up: Up, page: Page, **fields: str) -> str:
    """Fill the short form in and submit it; returns the run's id."""
    page.goto(f"http://127.0.0.1:{up.port}/v2/deployments")
    page.get_by_role("link", name="train-character", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).first.click()
    page.get_by_role("menuitem", name="Custom run").click()
    for name, text in fields.items():
        page.get_by_label(name).first.fill(text)
    page.screenshot(path=up.project.folder / "form.png")
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
    expect(picture).to_be_visible(timeout=60_000)
    assert picture.evaluate("image => image.naturalWidth") > 100
    page.screenshot(path=up.project.folder / "samples.png")


def test_a_person_answers_a_question_between_two_stages(up: Up, page: Page) -> None:
    preset = up.project.folder / "recipes" / "default.toml"
    text = preset.read_text().replace('style = "off"', 'style = "ask"').replace("[gates]", "[gates]\nwait_minutes = 60")
    (preset.parent / "ask.toml").write_text(text)
    run = _submit(up, page, character="momo", preset="ask")
    up.state(run, "Suspended")
    _open(up, page, run)
    page.get_by_role("button", name="Open menu").last.click()
    page.get_by_role("menuitem", name="Resume").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Continue?")).to_be_visible()
    picture = dialog.locator("img[src^='data:image']").first
    expect(picture).to_be_visible(timeout=60_000)
    assert picture.evaluate("image => image.naturalWidth") > 100
    page.screenshot(path=up.project.folder / "question.png")
    dialog.get_by_role("button", name="Resume").click()
    wait_for(lambda: up.run(run)["state_name"] == "Completed", "the answered run to end")
    assert Path(up.project.folder / "question.png").stat().st_size > 10_000
