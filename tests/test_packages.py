"""What is installed together is what pyproject.toml allows: `make constraints` cannot lift a bound."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def _bounds() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [one for listed in project["optional-dependencies"].values() for one in listed]
    return [Requirement(one) for one in (*project["dependencies"], *extras) if not one.startswith("headcanon")]


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pins}


@pytest.mark.parametrize("bound", _bounds(), ids=str)
def test_every_pin_is_within_the_bounds_of_pyproject(bound: Requirement) -> None:
    pinned = _pins().get(canonicalize_name(bound.name))
    if pinned is None:
        # For GPUs alone; for pictures that few people have.
        assert bound.name in ("bitsandbytes", "pillow-heif", "pillow-jxl-plugin")
        return
    assert bound.specifier.contains(pinned, prereleases=True)


def test_sqlalchemy_is_bound_below_the_version_with_which_no_schedule_fires() -> None:
    (bound,) = (one for one in _bounds() if one.name == "sqlalchemy")
    assert not bound.specifier.contains("2.1.9")
    assert bound.specifier.contains("2.0.40")


def test_make_constraints_refuses_an_environment_that_breaks_a_bound(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries.parent / ".installed").touch()
    pip = binaries / "pip"
    pip.write_text(
        "#!/bin/sh\n[ $1 = check ] && { echo 'headcanon requires sqlalchemy<2.1, you have 2.1.9'; exit 1; }\n"
    )
    pip.chmod(0o755)
    (binaries / "python").symlink_to(sys.executable)
    before = (tmp_path / "constraints.txt").read_text()
    made = subprocess.run(["make", "constraints"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert "sqlalchemy<2.1" in made.stdout + made.stderr
    assert (tmp_path / "constraints.txt").read_text() == before
