"""The studio page without a server behind it: who may ask, what may be dropped, what an edit writes."""

import io
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image
from small_home import new_home
from starlette.testclient import TestClient

from flows.door import Door, Names
from flows.place import AllowedFolders
from flows.studio import character, files
from flows.studio.app import before, studio
from flows.studio.options import options_of, set_options
from flows.studio.runs import drawing
from lora_core.captions.rule_file import read_rules
from lora_core.errors import CaptionError, RecipeError
from lora_core.training.curves import Curves, Figures

_PAGE = {"x-headcanon": "page"}


@pytest.fixture
def home(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A studio with one character."""
    folder = new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder
    monkeypatch.setenv("HEADCANON_HOME", str(folder))
    return folder


@pytest.fixture
def momo(home: Path) -> Path:
    """Its screenshots."""
    return home / "characters" / "momo"


def _visitor(password: str = "") -> TestClient:
    async def prefect(scope, receive, send):  # type: ignore[no-untyped-def]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"prefect"})

    page = studio("http://127.0.0.1:1/api", password)
    names = Names.of("127.0.0.1", "workstation")
    return TestClient(
        Door(before(page, prefect), names), base_url="http://127.0.0.1:4200", raise_server_exceptions=False
    )


@pytest.fixture
def visitor(home: Path) -> TestClient:
    return _visitor()


def _png(colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (300, 300), colour).save(data, "PNG")
    return data.getvalue()


def test_the_address_itself_is_the_page_and_prefect_s_ui_stays_where_it_is(visitor: TestClient) -> None:
    assert visitor.get("/", follow_redirects=False).headers["location"] == "/studio/"
    assert visitor.get("/v2/dashboard").text == "prefect"
    assert visitor.get("/api/version").text == "prefect"


def test_a_page_elsewhere_changes_nothing_and_nobody_frames_it(visitor: TestClient, momo: Path) -> None:
    url = "/studio/c/momo/pictures/new.png"
    assert visitor.put(url, content=_png()).status_code == 403
    assert visitor.put(url, content=_png(), headers={**_PAGE, "origin": "http://evil.test"}).status_code == 403
    assert visitor.get("/studio/c/momo/options", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert visitor.get("/studio/c/momo/options", headers={"host": "evil.test"}).status_code == 403
    assert not (momo / "new.png").exists()
    policies = visitor.get("/studio/c/momo/options").headers.get_list("content-security-policy")
    assert "frame-ancestors 'none'" in policies[-1]
    assert "default-src 'self'" in policies[0]


def test_with_a_password_every_address_of_the_page_asks_for_it(home: Path) -> None:
    locked = _visitor("user:word")
    for path in ("/studio/c/momo/options", "/studio/pictures/0", "/studio/out/momo/momo.safetensors"):
        answer = locked.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")
        assert locked.get(path, auth=("user", "other")).status_code == 401
    assert locked.get("/studio/c/momo/options", auth=("user", "word")).status_code == 200
    assert locked.put("/studio/c/momo/pictures/a.png", content=_png(), headers=_PAGE).status_code == 401


def test_a_dropped_picture_is_written_whole_and_another_of_its_name_is_refused(visitor: TestClient, momo: Path) -> None:
    put = "/studio/c/momo/pictures/"
    assert visitor.put(f"{put}portrait/new%20one.png", content=_png(), headers=_PAGE).status_code == 200
    assert (momo / "portrait" / "new one.png").read_bytes() == _png()
    assert visitor.put(f"{put}portrait/new%20one.png", content=_png(), headers=_PAGE).status_code == 200
    answer = visitor.put(f"{put}portrait/new%20one.png", content=_png("blue"), headers=_PAGE)
    assert answer.status_code == 400
    assert "another picture has that name here" in answer.json()["error"]
    assert (momo / "portrait" / "new one.png").read_bytes() == _png()


@pytest.mark.parametrize(
    "path",
    ["..%2Fevil.png", "%2e%2e/%2e%2e/evil.png", ".hidden.png", "a/../../b.png", "a%5Cb.png", "recipe.toml", "x.svg",
     "a%00.png", "//b.png", "n" * 300 + ".png", "%1b.png", "link/a.png"],
)  # fmt: skip
def test_a_name_that_leads_out_or_is_no_screenshot_s_is_refused(visitor: TestClient, momo: Path, path: str) -> None:
    (momo / "link").symlink_to(momo.parent.parent)
    before = sorted(momo.parent.parent.rglob("*"))
    answer = visitor.put(f"/studio/c/momo/pictures/{path}", content=_png(), headers=_PAGE)
    assert answer.status_code in (400, 404), answer.text
    assert sorted(momo.parent.parent.rglob("*")) == before


def test_what_is_no_picture_is_refused_and_leaves_nothing(visitor: TestClient, momo: Path) -> None:
    before = sorted(momo.iterdir())
    for data, told in ((b"", "empty file"), (b"GIF89a nonsense", "not a"), (b"<svg/>", "not a picture")):
        answer = visitor.put("/studio/c/momo/pictures/a.png", content=data, headers=_PAGE)
        assert answer.status_code == 400
        assert told in answer.json()["error"]
    assert sorted(momo.iterdir()) == before


def test_only_the_studio_s_own_files_are_served(visitor: TestClient, home: Path) -> None:
    (home / "out" / "momo").mkdir(parents=True)
    (home / "out" / "momo" / "report.html").write_text("<p>")
    (home / "out" / "momo" / "secret.txt").symlink_to("/etc/hostname")
    answer = visitor.get("/studio/out/momo/report.html")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("sandbox")
    for path in (
        "out/momo/secret.txt", "out/momo/..%2F..%2Frecipes/default.toml", "out/..%2Frecipes/default.toml",
        "out/momo/.inputs", "c/momo/thumbnails/..%2F..%2F..%2Fetc/passwd", "c/..%2Fout/thumbnails/a.png",
        "curves/..%2F..%2Frecipes/a.png", "pictures/" + "0" * 64, "pictures/..%2F..%2Fx", "c/nobody",
    ):  # fmt: skip
        assert visitor.get(f"/studio/{path}").status_code == 404, path


def test_a_picture_that_is_removed_is_kept_out_of_sight(visitor: TestClient, momo: Path) -> None:
    name = files.screenshots(momo)[0].path
    data = (momo / name).read_bytes()
    assert visitor.post("/studio/c/momo/remove", json={"path": name}, headers=_PAGE).status_code == 200
    assert name not in [file.path for file in files.screenshots(momo)]
    assert [path.read_bytes() for path in (momo / files.REMOVED).iterdir()] == [data]


def test_a_page_that_looks_often_lists_a_folder_rarely_and_still_hears_of_what_changes(
    momo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "time", lambda: 0.0)
    before = files.screenshots(momo)
    first = momo / before[0].path
    assert files.screenshots(momo) is before
    (momo / "new.png").write_bytes(_png())
    assert [file.path for file in files.screenshots(momo)] == sorted(["new.png", *(file.path for file in before)])
    os.utime(first, ns=(0, before[0].modified_ns + 1))  # painted over by an editor
    monkeypatch.setattr(files, "time", lambda: 60.0)
    assert files.screenshots(momo)[0].modified_ns == before[0].modified_ns + 1


def test_a_new_character_has_a_name_that_a_lora_can_have(visitor: TestClient, home: Path) -> None:
    assert visitor.post("/studio/characters", json={"name": "aiko"}, headers=_PAGE).json() == {"go": "/studio/c/aiko"}
    assert (home / "characters" / "aiko").is_dir()
    for name in ("../up", "a/b", "", "x" * 81, ".hidden"):
        assert visitor.post("/studio/characters", json={"name": name}, headers=_PAGE).status_code == 400
    assert {path.name for path in (home / "characters").iterdir()} == {"aiko", "momo"}


def test_options_go_into_the_character_s_recipe_and_an_empty_one_out_of_it(momo: Path) -> None:
    file = momo / "recipe.toml"
    file.write_text("# mine\n[captions]\nmemorize = ['a_b']  # kept\n")
    set_options("momo", "", {"character_training.epochs": "3", "captions.outfit": "red dress\nhat"})
    assert file.read_text().startswith("# mine\n[captions]\nmemorize = ['a_b']  # kept\n")
    shown = {one.path: one for group in options_of("momo", "").values() for one in group}
    assert (shown["character_training.epochs"].value, shown["character_training.epochs"].own) == ("3", True)
    assert shown["captions.outfit"].value == "red dress\nhat"
    assert not shown["character_training.rank"].own
    set_options("momo", "", {"character_training.epochs": ""})
    shown = {one.path: one for group in options_of("momo", "").values() for one in group}
    assert shown["character_training.epochs"].value == "2"


@pytest.mark.parametrize(
    ("path", "text", "told"),
    [("character_training.epochs", "many", "epochs"), ("character_training.rank", "0", "rank"),
     ("publish.repository", "a/b", "no such option"), ("nothing.at_all", "1", "no such option"),
     ("name", "other", "no such option"), ("base.model", "/etc/passwd", "outside of the folders")],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_and_the_file_stays(momo: Path, path: str, text: str, told: str) -> None:
    (momo / "recipe.toml").write_text("[captions]\nprune = true\n")
    with pytest.raises(RecipeError, match=told):
        set_options("momo", "", {path: text})
    assert (momo / "recipe.toml").read_text() == "[captions]\nprune = true\n"


def test_captions_and_compositions_become_rules_and_nobody_s_edit_is_overwritten_unseen(momo: Path) -> None:
    shown = character.show("momo", "")
    assert shown.error == ""
    assert shown.dry is not None
    first = shown.dry.coverage.rows[0]
    assert (first.composition, first.planned, first.there[-1]) == ("close-up", 1, 1)
    one = next(picture for picture in shown.pictures if picture.composition == "portrait")
    assert one.caption.startswith("hcmomo, ")
    assert any(rule for _, rule, _ in one.reasons)
    character.set_caption("momo", "", one.entry.name, f"{one.caption}, hat", one.caption)
    with pytest.raises(CaptionError, match="was changed elsewhere meanwhile"):
        character.set_caption("momo", "", one.entry.name, f"{one.caption}, scarf", one.caption)
    assert read_rules(momo / "captions.toml").images[one.entry.name].add == ("hat",)
    character.set_composition("momo", "", one.entry.name, "upper_body")
    again = next(picture for picture in character.show("momo", "").pictures if picture.entry.name == one.entry.name)
    assert again.composition == "upper_body"
    assert "upper body" in again.caption
    assert "hat" in again.caption
    with pytest.raises(CaptionError, match="is no composition"):
        character.set_composition("momo", "", one.entry.name, "full_body")


def test_what_a_run_would_do_stands_above_the_pictures(momo: Path) -> None:
    sheet = character.sheet("momo", "")
    count = f"{len(files.screenshots(momo))} pictures"
    for told in ("What a run would do", "character LoRA", "Memory", "Disk", "are free", "Cached", "/measure", count):
        assert told in sheet


def test_a_picture_in_doubt_is_shown_beside_the_captions_of_the_others(momo: Path) -> None:
    Image.radial_gradient("L").resize((400, 400)).save(momo / "2026-01-02.png")
    shown = character.show("momo", "")
    doubtful = [picture for picture in shown.pictures if not picture.caption]
    assert [picture.entry.source for picture in doubtful] == ["2026-01-02.png"]
    assert len([picture for picture in shown.pictures if picture.caption]) == len(files.screenshots(momo)) - 1


def test_a_character_takes_its_pictures_from_an_allowed_folder_of_the_server_and_the_page_changes_none_there(
    visitor: TestClient, home: Path, momo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renders, elsewhere = tmp_path / "opened" / "renders", tmp_path / "closed"
    for folder in (renders, elsewhere):
        folder.mkdir(parents=True)
        (folder / "portrait_1.png").write_bytes(_png())
    (renders / ".hidden.png").write_bytes(_png())
    monkeypatch.setenv("HEADCANON_ALSO", str(renders.parent))
    place, url = AllowedFolders(), "/studio/c/momo"
    assert set(files.source_folders(place)) == {str(home / "style"), str(renders)}
    said = {"preset": "", "character.images": str(elsewhere)}
    answer = visitor.post(f"{url}/options", json=said, headers=_PAGE)
    assert answer.status_code == 400
    assert "outside of the folders" in answer.json()["error"]
    assert visitor.post(f"{url}/options", json={**said, "character.images": str(renders)}, headers=_PAGE).json() == {
        "go": "/studio/c/momo?preset="
    }
    assert [file.path for file in files.screenshots(files.pictures_folder(place, "momo"))] == ["portrait_1.png"]
    assert visitor.get(f"{url}/thumbnails/portrait_1.png").headers["content-type"] == "image/jpeg"
    for answer in (
        visitor.put(f"{url}/pictures/new.png", content=_png(), headers=_PAGE),
        visitor.post(f"{url}/remove", json={"path": "portrait_1.png"}, headers=_PAGE),
    ):
        assert answer.status_code == 400
        assert f"its pictures come from {renders}" in answer.json()["error"]
    assert sorted(path.name for path in renders.iterdir()) == [".hidden.png", "portrait_1.png"]
    assert visitor.post(f"{url}/options", json={**said, "character.images": ""}, headers=_PAGE).status_code == 200
    assert files.pictures_folder(place, "momo") == momo
    assert (momo / "recipe.toml").read_text().strip() == ""


def test_base_and_tagger_are_chosen_from_the_models_that_are_there(momo: Path, home: Path) -> None:
    base, tagger = options_of("momo", "")["main"][:2]
    assert (base.path, tagger.path) == ("base.model", "tagger.model")
    assert not base.choices
    assert not tagger.choices
    for name in (
        "one.safetensors",
        "wd/selected_tags.csv",
        "wd/model.onnx",
        "wd/model.safetensors",
        "sdxl/two.safetensors",
        ".cut.safetensors",
    ):
        (home / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "models" / name).touch()
    base, tagger = options_of("momo", "")["main"][:2]
    found = [str(home / "models" / name) for name in ("one.safetensors", "sdxl/two.safetensors")]
    assert list(base.choices) == [base.value, *found]
    assert list(dict(base.choices).values())[1:] == ["models/one.safetensors", "models/sdxl/two.safetensors"]
    assert list(tagger.choices) == [tagger.value, str(home / "models" / "wd")]
    set_options("momo", "", {"base.model": found[1]})
    assert options_of("momo", "")["main"][0].value == found[1]


@pytest.mark.parametrize(
    ("action", "said", "told"),
    [
        ("choose", {"epoch": "two", "weight": 1}, "epoch: Input should be a valid integer"),
        ("choose", {"epoch": 2, "weight": ""}, "weight: Input should be a valid number"),
        ("draw", {"prompts": "", "epochs": "1, last", "weights": "", "seeds": ""}, "epochs: Input should be a valid"),
    ],
)
def test_a_choice_that_is_no_number_is_one_line(
    visitor: TestClient, home: Path, action: str, said: dict[str, object], told: str
) -> None:
    result = home / "out" / "momo"
    result.mkdir(parents=True)
    (result / "momo.safetensors").touch()
    answer = visitor.post(f"/studio/out/momo/{action}", json=said, headers=_PAGE)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(told)
    assert "\n" not in answer.json()["error"]


def test_curves_are_drawn_from_what_is_there(tmp_path: Path) -> None:
    assert drawing(tmp_path, "momo-12345678") is None
    curves = Curves(tmp_path / "momo-12345678", 0)
    for step in range(1, 1001):
        curves.add(Figures(step, 1, 1.0, 1.0 if step < 500 else 0.5, 0.0, 0.0, 1e-4, 0.0, 8.0))
    curves.close()
    drawn = drawing(tmp_path, "momo-12345678")
    assert drawn is not None
    assert drawn.name == "momo"
    assert "from 1.0000 to 0.5000, steps 100 to 1,000; learning rate 0.0001" in drawn.svg
    loss = ElementTree.fromstring(drawn.svg).findall("{*}polyline")[1]
    points = [tuple(map(float, point.split(","))) for point in loss.attrib["points"].split()]
    assert points[0] == (0.0, 5.0)
    assert points[-1] == (600.0, 115.0)
    assert drawing(tmp_path, "../momo-12345678") is None
