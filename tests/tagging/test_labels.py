"""Label tables as they are published, oddities included."""

import csv
from pathlib import Path

import pytest

from lora_core.errors import TaggerError
from lora_core.tagging.labels import Label, fitted, read_labels

REAL = (
    "tag_id,name,category,count\r\n9999999.0,general,9,807858\r\n,,,\r\n"
    "2355.0,ponytail,0,431021\r\n77,hatsune_miku,4,5\r\n"
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "selected_tags.csv"
    path.write_text(REAL, newline="")
    return path


def test_blank_rows_and_ids_with_decimals_are_survived(table):
    assert read_labels(table) == (
        Label("general", "9"),
        Label("", ""),
        Label("ponytail", "0"),
        Label("hatsune_miku", "4"),
    )


@pytest.mark.parametrize(
    ("outputs", "names"),
    [(3, ["general", "ponytail", "hatsune_miku"]), (4, ["general", "", "ponytail", "hatsune_miku"])],
)
def test_a_blank_row_is_an_output_or_not_as_the_model_counts(table, outputs, names):
    assert [label.name for label in fitted(read_labels(table), outputs, "m")] == names


def test_another_number_of_outputs_is_refused_with_both_numbers(table):
    with pytest.raises(TaggerError, match=r"9 outputs, its label table 3 tags"):
        fitted(read_labels(table), 9, "m")


def test_categories_with_decimals_are_read(tmp_path):
    path = tmp_path / "selected_tags.csv"
    path.write_text("tag_id,name,category,count\n1.0,sky,0.0,3.0\n")
    assert read_labels(path) == (Label("sky", "0"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a label table"),
        ("name;category\na;0\n", "not a label table"),
        ("tag_id,name,category,count\n1,sky,general,3\n", "'sky' has the category 'general'"),
    ],
)
def test_something_else_is_refused(tmp_path, text, message):
    path = tmp_path / "selected_tags.csv"
    path.write_text(text)
    with pytest.raises(TaggerError, match=message):
        read_labels(path)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(TaggerError, match="not a readable label table"):
        read_labels(tmp_path / "no.csv")


def test_the_reader_takes_rows_that_the_csv_module_pads(tmp_path):
    path = tmp_path / "selected_tags.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("tag_id", "name", "category", "count"), ("1", "sky", "0", "3"), ("", "")])
    assert [label.name for label in read_labels(path)] == ["sky", ""]
