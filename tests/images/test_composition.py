"""A screenshot's composition: list, then folder, then file name."""

import pytest

from lora_core.errors import DatasetError
from lora_core.images.composition import composition_of, read_list


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("close-up_01.png", "close-up"),
        ("closeup 3.png", "close-up"),
        ("Close_Up.png", "close-up"),
        ("portrait-2.png", "portrait"),
        ("upper_body_2024-01-01.png", "upper_body"),
        ("upper-body7.png", "upper_body"),
        ("cowboy_shot_1.png", "cowboy_shot"),
        ("cowboy shot.png", "cowboy_shot"),
        ("Upper Body/0001.png", "upper_body"),
        ("mia/portrait/upper_body_1.png", "portrait"),
        ("portraits of mia.png", None),
        ("HS2_0001.png", None),
        ("顔アップ.png", None),
    ],
)
def test_the_folder_comes_before_the_file_name(source, expected):
    assert composition_of(source, {})[0] == expected


def test_the_list_comes_before_the_folder():
    found, note = composition_of("portrait/1.png", {"portrait/1.png": "close-up"})
    assert found == "close-up"
    assert "composition.csv" in note


def test_a_list_is_read_with_or_without_heading(tmp_path):
    path = tmp_path / "composition.csv"
    path.write_text("file,composition\na.png,close-up\n\n./b/c d.png, Upper Body\n", "utf-8-sig")
    assert read_list(tmp_path) == {"a.png": "close-up", "b/c d.png": "upper_body"}
    path.write_text("a.png,portrait\n")
    assert read_list(tmp_path) == {"a.png": "portrait"}


def test_a_composition_that_does_not_exist_is_refused_with_its_line(tmp_path):
    (tmp_path / "composition.csv").write_text("a.png,portrait\nb.png,full body\n")
    with pytest.raises(DatasetError, match=r"composition\.csv, line 2: .*close-up, portrait"):
        read_list(tmp_path)
