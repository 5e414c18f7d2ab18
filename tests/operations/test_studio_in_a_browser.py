"""A new user on the studio page, in a real browser: from an empty studio to a LoRA, without leaving it.

What it showed is kept in the folder that `--basetemp` or pytest's own choice names, in `pages/`: each page at 1300 and
390 px, light and dark.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from running import PATIENCE_SECONDS, Up, started, wait_for
from small_home import new_home

pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make` brings it")
from chromium import chromium
from playwright.sync_api import Browser, Page, Route, expect

from demo.world import TARGET, screenshots
from lora_core.captions.rule_file import read_rules
from lora_core.store.digests import file_digest

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.long, pytest.mark.door]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[Up]:
    """A studio with a preset and no character."""
    folder = tmp_path_factory.mktemp("studio")
    with started(new_home(folder / "home", drawn, folder / "prefect", characters=())) as running:
        inbox = running.ask("GET", "deployments/name/watch-inbox/watch-inbox")["id"]
        running.post(f"deployments/{inbox}/pause_deployment")  # what starts here, the page starts
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
    opaque = folder / "portrait_004.png"  # which is told on the page
    with Image.open(opaque) as opened:
        picture = Image.new("RGB", opened.size, "lightblue")
        picture.paste(opened, mask=opened.getchannel("A"))
    picture.save(opaque)
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


@pytest.fixture(scope="module")
def published(empty: Up, dropped: list[Path]) -> Path:
    """A LoRA of momo from the form with the options that matter; where the page has made one, nothing is done again."""
    home = empty.project.folder
    character = home / "characters" / "momo"
    if character.exists():
        (character / "recipe.toml").write_text('[captions]\nrules = "captions.toml"\n')
    else:
        shutil.copytree(dropped[0].parent, character)
    options = {"character_training__epochs": 5, "sampling__while_training": 2}
    empty.state(empty.submit("train-character-options", character="momo", options=options), "Completed")
    return home / "out" / "momo"


def _keep(up: Up, page: Page, name: str) -> None:
    """Pictures of the page, wide and narrow, light and dark; narrow, nothing hangs over its edge."""
    page.evaluate("document.querySelectorAll('img').forEach(picture => picture.loading = 'eager')")
    page.wait_for_timeout(1000)
    folder = up.project.folder.parent / "pages"
    folder.mkdir(exist_ok=True)
    for width, height in ((390, 844), (1300, 1000)):
        page.set_viewport_size({"width": width, "height": height})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            # A sandboxed frame is painted by a process of its own, and only once it was in sight.
            page.evaluate("document.querySelector('iframe')?.scrollIntoView()")
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth") == width, name
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)


def test_a_new_user_drops_pictures_edits_a_caption_and_gets_a_lora_and_more_pictures_of_it(
    empty: Up, page: Page, dropped: list[Path]
) -> None:
    page.goto(f"http://127.0.0.1:{empty.port}")
    page.get_by_label("New character").fill("momo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studio/c/momo")
    page.locator(".drop input").set_input_files(dropped)
    expect(page.locator(".picture")).to_have_count(14)
    expect(page.locator("#p-portrait_004 .flag", has_text="no transparency")).to_be_visible()
    caption = page.get_by_label("Caption of portrait_001.png")
    caption.fill(caption.input_value() + ", hat")
    page.get_by_role("button", name="Save caption").first.click()
    rules = empty.project.folder / "characters" / "momo" / "captions.toml"
    wait_for(lambda: rules.exists() and "portrait_001" in read_rules(rules).images, "the edit in the rule file")
    page.get_by_label("Epochs character_training.epochs").fill("5")
    page.get_by_label("Pictures while training sampling.while_training").fill("2")
    page.get_by_role("button", name="Save options").click()
    expect(page.locator(".option.own")).to_have_count(3)  # and the rule file, among the others
    page.get_by_role("button", name="Measure").click()
    expect(page.get_by_text("to train and draw, at this machine’s pace")).to_be_visible()
    _keep(empty, page, "character")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/studio/r/*")
    expect(page.locator(".graph .running", has_text="train character")).to_be_visible()
    expect(page.locator(".strip img").nth(3)).to_be_visible()  # two of an epoch, two of the base
    expect(page.locator("#doing")).to_contain_text("to the run's end")
    run = page.url
    page.goto(f"http://127.0.0.1:{empty.port}/studio/")
    expect(page.locator(".card")).to_contain_text("train character")
    page.goto(run)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".badge.paused", has_text="Paused")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".graph .running", has_text="train character")).to_be_visible()
    _keep(empty, page, "run")
    page.goto(f"http://127.0.0.1:{empty.port}/studio/")
    _keep(empty, page, "characters")
    page.goto(run)
    page.get_by_role("link", name="Download the LoRA").wait_for(timeout=3 * PATIENCE_SECONDS * 1000)  # it trains
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the LoRA").click()
    lora = empty.project.folder / "out" / "momo" / "momo.safetensors"
    assert file_digest(Path(download.value.path())) == file_digest(lora)
    for step in ("preprocess character", "tag character", "caption character", "publish"):
        expect(page.locator(".graph .cached, .graph .completed", has_text=step)).to_be_visible()
    _keep(empty, page, "finished")
    page.get_by_role("link", name="Look at momo").click()
    expect(page.frame_locator("iframe").get_by_role("heading", name="momo")).to_be_visible()
    assert "<lora:momo:" in page.locator("#prompt").inner_text()
    page.get_by_label("Prompts, one a line").fill("{trigger}, 1girl, beach\n{trigger}, 1girl, night")
    page.get_by_label("Epochs").fill("1 4")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawn figure img")).to_have_count(4)
    expect(page.locator("#drawn figcaption").first).to_contain_text("1girl, beach · epoch 1 at 1, seed 1")


def test_another_epoch_is_published_beside_the_first_without_training_again(
    empty: Up, page: Page, published: Path
) -> None:
    page.goto(f"http://127.0.0.1:{empty.port}/studio/queue")
    runs = page.locator(".entry").count()
    page.goto(f"http://127.0.0.1:{empty.port}/studio/out/momo")
    chosen = page.locator("select[name=epoch]").input_value()
    other = "1" if chosen != "1" else "2"
    page.locator("select[name=epoch]").select_option(other)
    held: list[Route] = []
    page.route("**/choose", lambda route: held.append(route))
    page.get_by_role("button", name="Publish this one too").click()
    expect(page.locator("button[aria-busy]", has_text="Publish this one too")).to_be_visible()
    held[0].continue_()
    page.wait_for_url("**/studio/r/*")
    page.get_by_role("link", name="Look at momo-v2").click()
    expect(page.locator(".card.chosen")).to_contain_text(f"epoch {other} at 1, chosen by hand")
    expect(page.locator(".cards .card")).to_have_count(2)
    expect(page.locator(".card table")).to_have_count(2)
    expect(page.frame_locator("iframe").get_by_role("heading", name="momo", exact=True)).to_be_visible()
    _keep(empty, page, "result")
    digests = {file_digest(path) for path in (published / "epochs").glob("*.safetensors")}
    assert file_digest(empty.project.folder / "out" / "momo-v2" / "momo-v2.safetensors") in digests
    page.goto(f"http://127.0.0.1:{empty.port}/studio/queue")
    expect(page.locator(".entry")).to_have_count(runs + 1)
    _keep(empty, page, "queue")


def test_two_browsers_and_the_command_line_on_one_character_lose_nothing_and_train_once(
    empty: Up, page: Page, browser: Browser, drawn: Path
) -> None:
    home = empty.project.folder
    folder, url = home / "characters" / "mira", f"http://127.0.0.1:{empty.port}/studio/c/mira"
    shutil.copytree(drawn / "character", folder)
    other = browser.new_page(viewport={"width": 1300, "height": 1000})
    other.set_default_timeout(PATIENCE_SECONDS * 1000)
    edited = {"portrait_001": (page, "scarf"), "upper_body_001": (other, "gloves")}
    for each in (page, other):
        each.goto(url)
        expect(each.locator(".picture")).to_have_count(4)
    for name, (each, tag) in edited.items():
        caption = each.get_by_label(f"Caption of {name}.png")
        caption.fill(caption.input_value() + f", {tag}")
    for name, (each, _) in edited.items():
        each.locator(f"#p-{name}").get_by_role("button", name="Save caption").click()
    rules = folder / "captions.toml"
    wait_for(lambda: rules.exists() and edited.keys() <= read_rules(rules).images.keys(), "both edits")
    text = (home / "recipes" / "default.toml").read_text()
    for old, new in {
        'name = "momo"\ntrigger = "momo"': 'name = "mira"', '"../style"': '"style"', '"character"': '"characters/mira"',
        "[captions]": '[captions]\nrules = "characters/mira/captions.toml"', 'store = "store"': 'store = ".headcanon"',
    }.items():  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    (home / "mira.toml").write_text(text)
    command = empty.project.start("run", "mira.toml")
    for each in (page, other):
        each.goto(url)
        expect(each.locator(".picture")).to_have_count(4)
        each.get_by_role("button", name="Start training").click()
    for each in (page, other):
        each.wait_for_url("**/studio/r/*")
    assert page.url == other.url
    for each in (page, other):
        each.get_by_role("link", name="Look at mira").wait_for()
    assert command.wait(PATIENCE_SECONDS) == 0
    assert [path.name for path in (home / "out").glob("mira*") if path.is_dir()] == ["mira"]
    (trained,) = (home / ".headcanon" / "curves").glob("mira-*")
    assert len(list(trained.glob("events.*"))) == 1, "a training opens one such file each time that it begins"
    other.close()
