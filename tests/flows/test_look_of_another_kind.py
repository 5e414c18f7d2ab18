"""A look that is trained as a LoHa is merged, checked and trained on like a plain one."""

import json
import re

import pytest
from small_project import Project

from lora_core.lora.inspect import inspect_file

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_a_style_loha_is_merged_and_passes_the_check(project: Project) -> None:
    recipe = project.recipe.read_text()
    project.recipe.write_text(f'{recipe}\n[style_training.network]\nkind = "loha"\nconv_rank = 2\n')
    done = project.run("run", "recipe.toml")
    assert done.returncode == 0, done.stderr
    steps = re.findall(r"^✓ ([a-z ]+):", done.stderr, re.MULTILINE)
    assert {"train style", "merge", "check merge", "train character"} <= set(steps)
    folder = project.lora.parent
    epochs = sorted(folder.glob("checks/style-lora/*.safetensors"))
    assert epochs
    for style in epochs:
        found = inspect_file(style)
        assert (found.kind, found.what, found.ranks) == ("lora", "a LoHa", (2, 4))
    check = json.loads((folder / "report.json").read_text())["made"]["merge_check"]
    assert check is not None
    assert inspect_file(project.lora).what == "a LoRA"
