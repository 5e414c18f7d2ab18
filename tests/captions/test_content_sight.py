"""A tagger that has no words for what the content rule looks for ends the work before it begins."""

import shutil
import sys
from pathlib import Path

import pytest

from demo.project import MODELS
from flows.cli import main
from lora_core.captions.content import check_tagger
from lora_core.errors import TaggerError

DEMO = {name: MODELS / "tagger" / name for name in ("model.onnx", "selected_tags.csv")}
GOLDEN = Path(__file__).parents[1] / "golden"
MINOR_LACKS, SEXUAL_LACKS = "no tag that names a minor", "neither sexual ratings nor a tag of nudity"


def table(folder: Path, *rows: str) -> dict[str, Path]:
    """A tagger's files; its model is not asked."""
    lines = ["tag_id,name,category,count", *(f"{index},{row},1" for index, row in enumerate(rows))]
    (folder / "selected_tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "model.onnx").write_bytes(b"onnx")
    return {name: folder / name for name in DEMO}


@pytest.mark.parametrize(
    "rows",
    [
        ("child,0", "explicit,9"),
        ("loli,0", "rating:explicit,0"),
        ("young,0", "questionable,9"),
        ("cub,0", "genitals,0"),
        ("female_child,0", "e,9"),
        ("幼女,0", "裸,0"),
    ],
)
def test_one_tag_that_names_a_minor_and_one_sexual_rating_or_tag_are_enough(tmp_path, rows):
    check_tagger(table(tmp_path, "1girl,0", *rows), {}, "t")


@pytest.mark.parametrize(
    ("rows", "lacks"),
    [
        (("1girl,0", "smile,0"), f"{MINOR_LACKS} and {SEXUAL_LACKS}"),
        (("1girl,0", "explicit,9"), MINOR_LACKS),
        (("randoseru,0", "kindergarten_uniform,0", "explicit,9"), MINOR_LACKS),
        (("child,0", "general,9", "sensitive,9"), SEXUAL_LACKS),
        (("child,0", "e,0"), SEXUAL_LACKS),
        (("child,4", "x_rays,0"), SEXUAL_LACKS),
    ],
)
def test_what_a_tagger_lacks_is_said_with_what_to_do(tmp_path, rows, lacks):
    with pytest.raises(TaggerError, match=rf"^taggers/mine: this tagger has {lacks}, .*take one of general vocabulary"):
        check_tagger(table(tmp_path, *rows), {}, "taggers/mine")


def test_the_head_of_a_published_table_holds_ratings_and_no_minor():
    with pytest.raises(TaggerError, match=MINOR_LACKS):
        check_tagger({**DEMO, "selected_tags.csv": GOLDEN / "wd_labels_300.csv"}, {}, "head")


def test_the_drawn_worlds_tagger_is_known_by_its_bytes_and_beside_a_small_base_alone(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"")
    with large.open("wb") as file:
        file.truncate(200 * 1024**2)
    check_tagger(DEMO, {"unet": small}, "demo")
    with pytest.raises(TaggerError, match=MINOR_LACKS):
        check_tagger(DEMO, {"unet": small, "vae": large}, "demo")
    for part, path in DEMO.items():
        other = tmp_path / part
        shutil.copyfile(path, other)
        with other.open("ab") as file:
            file.write(b"\n")
        with pytest.raises(TaggerError, match=MINOR_LACKS):
            check_tagger({**DEMO, part: other}, {"unet": small}, "demo")


def test_the_tag_command_refuses_it_before_reading_a_picture(tmp_path, monkeypatch, capsys):
    table(tmp_path, "1girl,0")
    monkeypatch.setattr(sys, "argv", ["headcanon", "tag", str(tmp_path / "missing"), "--model", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert err == err.splitlines()[0] + "\n"
    assert f"headcanon: {tmp_path}: this tagger has {MINOR_LACKS}" in err
