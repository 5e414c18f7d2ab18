"""A new user on the studio page, in a real browser: from an empty studio to a LoRA, without leaving it.

What it showed is kept in the folder that `--basetemp` or pytest's own choice names, as PNGs of 1300 and 390 px.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PATIENCE_SECONDS, Up, started, wait_for
from small_home import new_home

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make` brings it")
from chromium import chromium
from playwright.sync_api import Browser, Page, expect

from demo.world import TARGET, screenshots
from lora_core.captions.rule_file import read_rules
from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.long, pytest.mark.door]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    """A studio with a preset and no character."""
    folder = tmp_path_factory.mktemp("studio")
    with started(new_home(folder / "home", drawn, folder / "prefect", characters=())) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_SECONDS * 1000)
    with chromium() as found:
        yield found
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fourteen screenshots on the user's disk."""
    folder = tmp_path_factory.mktemp("dropped") / "momo"
    screenshots(TARGET, folder, seed=4, plan={"close-up": 2, "portrait": 4, "upper_body": 5, "cowboy_shot": 3})
    return sorted(folder.glob("*.png"))


@pytest.fixture
def page(browser: Browser, empty: Up) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    elsewhere: list[str] = []
    page.on("request", lambda asked: elsewhere.append(asked.url) if f":{empty.port}/" not in asked.url else None)
    yield page
    page.close()
    assert troubles == []
    assert [url for url in elsewhere if not url.startswith(("data:", "about:", "blob:"))] == []


def _keep(up: Up, page: Page, name: str) -> None:
    """Pictures of the page, wide and narrow; narrow, nothing hangs over its edge."""
    page.evaluate("document.querySelectorAll('img').forEach(picture => picture.loading = 'eager')")
    page.wait_for_timeout(1000)
    page.screenshot(path=up.project.folder / f"{name}-1300.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=up.project.folder / f"{name}-390.png", full_page=True)
    page.set_viewport_size({"width": 1300, "height": 1000})


def _open_runs(up: Up) -> list[str]:
    found = up.post("flow_runs/filter", flows={"name": {"any_": ["train-character"]}})
    return [run["id"] for run in found if run["state_type"] in ("RUNNING", "PENDING", "SCHEDULED", "PAUSED")]


def test_a_new_user_drops_pictures_edits_a_caption_and_gets_a_lora(empty: Up, page: Page, dropped: list[Path]) -> None:
    page.goto(f"http://127.0.0.1:{empty.port}")
    page.get_by_label("New character").fill("momo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio/c/momo")
    page.locator(".drop input").set_input_files(dropped)
    expect(page.locator(".picture")).to_have_count(14)
    caption = page.get_by_label("Caption of portrait_001.png")
    caption.fill(caption.input_value() + ", hat")
    page.get_by_role("button", name="Save caption").first.click()
    rules = empty.project.folder / "characters" / "momo" / "captions.toml"
    wait_for(lambda: rules.exists() and "portrait_001" in read_rules(rules).images, "the edit in the rule file")
    page.get_by_label("Epochs character_training.epochs").fill("8")
    page.get_by_label("Pictures while training sampling.while_training").fill("2")
    page.get_by_role("button", name="Save options").click()
    expect(page.locator(".option.own")).to_have_count(3)  # and the rule file, among the others
    _keep(empty, page, "character")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/studio/r/*")
    expect(page.locator(".graph .running", has_text="train character")).to_be_visible()
    expect(page.locator(".strip img").nth(3)).to_be_visible()  # two of an epoch, two of the base
    _keep(empty, page, "run")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".badge.paused", has_text="Paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("link", name="Download the LoRA").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the LoRA").click()
    lora = empty.project.folder / "out" / "momo" / "momo.safetensors"
    assert file_digest(Path(download.value.path())) == file_digest(lora)
    _keep(empty, page, "finished")
    page.get_by_role("link", name="Look at momo").click()
    expect(page.frame_locator("iframe.report").get_by_role("heading", name="momo")).to_be_visible()
    assert "<lora:momo:" in page.locator("#prompt").inner_text()
    _keep(empty, page, "result")
    page.goto(f"http://127.0.0.1:{empty.port}/studio/queue")
    page.locator(".entry").first.wait_for()
    _keep(empty, page, "queue")
    page.goto(f"http://127.0.0.1:{empty.port}/studio/")
    expect(page.get_by_text("14 pictures of 38 planned")).to_be_visible()
    _keep(empty, page, "characters")


def test_two_browsers_and_the_command_line_on_one_character_lose_nothing_and_train_once(
    empty: Up, page: Page, browser: Browser, dropped: list[Path]
) -> None:
    other = browser.new_page(viewport={"width": 1300, "height": 1000})
    other.set_default_timeout(PATIENCE_SECONDS * 1000)
    url = f"http://127.0.0.1:{empty.port}/studio/c/momo"
    for each in (page, other):
        each.goto(url)
        expect(each.locator(".picture")).to_have_count(14)
    for each, name, tag in ((page, "portrait_002", "scarf"), (other, "portrait_003", "gloves")):
        caption = each.get_by_label(f"Caption of {name}.png")
        caption.fill(caption.input_value() + f", {tag}")
    page.locator("#p-portrait_002").get_by_role("button", name="Save caption").click()
    other.locator("#p-portrait_003").get_by_role("button", name="Save caption").click()
    rules = empty.project.folder / "characters" / "momo" / "captions.toml"
    wait_for(lambda: {"portrait_001", "portrait_002", "portrait_003"} <= read_rules(rules).images.keys(), "both edits")
    for each in (page, other):
        each.goto(url)
        expect(each.locator(".picture")).to_have_count(14)
    page.get_by_role("button", name="Start training").click()
    other.get_by_role("button", name="Start training").click()
    for each in (page, other):
        each.wait_for_url("**/studio/r/*")
    assert page.url == other.url
    assert len(_open_runs(empty)) == 1
    other.get_by_role("button", name="Cancel").wait_for()
    other.on("dialog", lambda dialog: dialog.accept())
    other.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    other.close()
