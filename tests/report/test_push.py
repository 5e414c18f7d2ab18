"""Publishing to a hub: a real HTTP server on this machine stands for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import Hub, running_hub

from lora_core.errors import OutputExistsError, PublishError, RecipeError
from lora_core.hub.push import push

TOKEN = "hf_secret_of_this_test"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub(TOKEN) as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.address)
        monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", running.address)
        yield running


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    for name, text in (("Mira.safetensors", "weights"), ("README.md", "# Mira\n")):
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in ("Mira.safetensors", "README.md")}


def push_it(files: dict[str, Path], token: str = TOKEN) -> str:
    return push(files, "me/mira", "Mira.safetensors", token, private=True, message="Mira")


def test_the_files_arrive_in_a_private_repository_in_one_commit(hub: Hub, files: dict[str, Path]) -> None:
    assert push_it(files).endswith("/me/mira/commit/1")
    assert hub.files == {"me/mira": {"Mira.safetensors": b"weights", "README.md": b"# Mira\n"}}
    assert hub.private == {"me/mira": True}
    assert set(hub.tokens) == {f"Bearer {TOKEN}"}


def test_the_same_lora_can_be_pushed_again_with_another_card(hub: Hub, files: dict[str, Path]) -> None:
    push_it(files)
    files["README.md"].write_text("# Mira, again\n")
    push_it(files)
    assert hub.files["me/mira"]["README.md"] == b"# Mira, again\n"


def test_a_name_taken_by_other_bytes_is_refused_and_nothing_is_written(hub: Hub, files: dict[str, Path]) -> None:
    push_it(files)
    files["Mira.safetensors"].write_text("other weights")
    files["README.md"].write_text("# other\n")
    with pytest.raises(OutputExistsError, match=r"me/mira: Mira\.safetensors is there with other bytes.*--as v2"):
        push_it(files)
    assert hub.files["me/mira"] == {"Mira.safetensors": b"weights", "README.md": b"# Mira\n"}


def test_a_refused_token_is_told_in_one_line_without_it(hub: Hub, files: dict[str, Path]) -> None:
    with pytest.raises(PublishError, match=r"me/mira: .*stays cached") as error:
        push_it(files, "hf_wrong")
    assert "hf_wrong" not in str(error.value)
    assert "\n" not in str(error.value)
    assert hub.files == {}


def test_without_a_token_nothing_is_tried(files: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match="set HF_TOKEN"):
        push_it(files, "")
