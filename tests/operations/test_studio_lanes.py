"""A run's graph on the studio page: every step in its lane, under the name that Prefect's UI has."""

from pathlib import Path

import pytest
from small_home import new_home

from flows.studio.character import lanes


def test_what_hangs_on_no_picture_of_the_character_is_the_style_s(
    tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADCANON_HOME", str(new_home(tmp_path / "home", drawn, tmp_path / "prefect").folder))
    found = lanes({"character": "momo"})
    assert found["style"] == ("preprocess style", "tag style", "train style", "check style", "merge", "check merge")
    assert found["character"] == (
        "preprocess character", "tag character", "caption character", "check captions", "downscale",
        "train character", "sample", "judge", "report", "publish",
    )  # fmt: skip
