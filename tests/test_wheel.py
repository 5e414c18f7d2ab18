"""What `pip install` brings: all that a user runs, and nothing of the experiments on the method."""

import tomllib
from pathlib import Path

from setuptools import find_namespace_packages

ROOT = Path(__file__).parents[1]
FIND = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]["find"]
PACKAGES = set(find_namespace_packages(str(ROOT), **FIND))


def test_the_wheel_holds_what_a_user_runs() -> None:
    assert {
        "flows.cli",
        "tasks",
        "lora_core.training",
        "demo.world",
        "demo.models.base.unet",
        "deployments",
    } <= PACKAGES


def test_the_wheel_holds_no_experiment() -> None:
    experiments = (
        "demo.proof",
        "demo.train",
        "demo.recipes",
        "demo.by_eye",
        "demo.models.probe",
        "tests",
        "benchmarks",
    )
    assert not [name for name in PACKAGES if name.startswith(experiments)]
