"""The folder that people look into: whole or not there, whenever a run is cut off; nothing of others' overwritten."""

from pathlib import Path

import pytest

from lora_core.errors import OutputExistsError
from lora_core.report.publish import check_name, check_place, write_folder

NAMES = ("momo.safetensors", "momo.png", "report.html", "samples/grid.png")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / "made" / Path(name).name for name in NAMES}
    (tmp_path / "made").mkdir()
    for name, path in made.items():
        path.write_bytes(name.encode())
    return made


class CutOffError(BaseException):
    """Stands for `kill -9`: nothing of ours handles it."""


@pytest.mark.parametrize("files_written", range(len(NAMES) + 1))
def test_a_run_cut_off_while_it_publishes_finds_its_name_free_and_finishes(
    tmp_path: Path, files: dict[str, Path], files_written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole, done = tmp_path / "out", Path.replace, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal done
        if done == files_written:
            raise CutOffError
        done += 1
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(CutOffError):
        write_folder(files, out, "momo", ["inputs"])
    monkeypatch.undo()
    assert not (out / "momo.safetensors").exists()
    check_name(out, "momo", ["inputs"])
    write_folder(files, out, "momo", ["inputs"])
    assert {name: (out / name).read_bytes().decode() for name in NAMES} == {name: name for name in NAMES}
    check_name(out, "momo", ["inputs"])
    with pytest.raises(OutputExistsError, match="made from other inputs"):
        check_name(out, "momo", ["others"])


def test_a_lora_with_other_bytes_is_kept_and_nothing_beside_it_is_written(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/momo.safetensors").write_bytes(b"somebody's own")
    with pytest.raises(OutputExistsError, match="other bytes"):
        write_folder(files, tmp_path / "out", "momo", ["inputs"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["momo.safetensors"]


@pytest.mark.parametrize("own", ["README.md", "report.html"])
def test_a_file_that_no_run_wrote_is_kept_and_the_run_refused_before_its_work(
    tmp_path: Path, files: dict[str, Path], own: str
) -> None:
    project = tmp_path / "momo"
    project.mkdir()
    (project / own).write_text("my own notes")
    with pytest.raises(OutputExistsError, match=rf"momo/{own}: would be replaced, and no run wrote it; another --out"):
        check_name(project, "momo", ["inputs"])
    with pytest.raises(OutputExistsError, match="no run wrote it"):
        write_folder({**files, own: files["momo.png"]}, project, "momo", ["inputs"])
    assert [path.name for path in project.iterdir()] == [own]
    assert (project / own).read_text() == "my own notes"


@pytest.mark.parametrize("place", ["shots", "shots/momo", "elsewhere/../shots/momo"])
def test_nothing_is_published_among_the_screenshots(tmp_path: Path, place: str) -> None:
    with pytest.raises(OutputExistsError, match=r"among the screenshots in .*shots; another --out"):
        check_place(tmp_path / place, (tmp_path / "style", tmp_path / "shots"))
    check_place(tmp_path / "shots-of-momo", (tmp_path / "style", tmp_path / "shots"))
    check_place(tmp_path, (tmp_path / "style", tmp_path / "shots"))
