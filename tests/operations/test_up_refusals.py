"""What `headcanon up` refuses before it starts anything, and what it makes of an empty folder."""

import socket
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, temporary_settings
from pydantic import SecretStr

from flows.child_processes import Child, ServiceError
from flows.cli.up import up
from flows.up import make_home, run_until
from flows.wanted import Wanted
from lora_core.errors import UserError
from lora_core.recipe_file import parse_recipe


def test_another_address_than_this_machine_s_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="PREFECT_SERVER_API_AUTH_STRING"):
        up(tmp_path / "studio", host="0.0.0.0")
    assert not (tmp_path / "studio").exists()


def test_a_folder_to_open_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        up(tmp_path / "studio", allow=[tmp_path / "nowhere"])


def test_a_port_that_another_program_has_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answering = threading.Thread(target=_hang_up, args=(other,), daemon=True)
        answering.start()
        with pytest.raises(UserError, match=f"port {port}: another program"):
            run_until(Wanted(home=tmp_path, port=port), threading.Event(), lambda line: None)
    assert not (tmp_path / ".headcanon" / "logs").exists()


def _hang_up(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.close()


def test_an_empty_home_gets_its_folders_and_a_preset_that_is_a_recipe_but_for_the_character(tmp_path: Path) -> None:
    make_home(tmp_path / "studio")
    assert {path.name for path in (tmp_path / "studio").iterdir()} == {"recipes", "characters", "models", "out"}
    preset = tmp_path / "studio/recipes/default.toml"
    data = tomllib.loads(preset.read_text())
    parse_recipe({**data, "name": "aiko", "character": "characters/aiko"}, str(preset))


def test_a_home_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.toml").write_text("mine")
    make_home(tmp_path)
    assert [path.name for path in (tmp_path / "recipes").iterdir()] == ["mine.toml"]


def test_passwords_reach_the_worker_by_its_environment_and_no_command_line(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: SecretStr("user:secret")}):
        wanted = Wanted(home=tmp_path, database="postgresql+asyncpg://user:hidden@host/db")
        assert wanted.worker_settings()["PREFECT_API_AUTH_STRING"] == "user:secret"
        assert "hidden" in wanted.server_settings()["PREFECT_API_DATABASE_CONNECTION_URL"]
        assert "hidden" not in str(wanted.worker_settings())


class Ends(Child):
    """A child that ends at once."""

    def __init__(self, log: Path) -> None:
        super().__init__("worker", (), {}, log)
        self._command = (sys.executable, "-c", "print('what is wrong')")


def test_a_child_that_ends_again_and_again_is_given_up_with_the_place_of_its_log(tmp_path: Path) -> None:
    child = Ends(tmp_path / "worker.log")
    child.start()
    with pytest.raises(ServiceError, match=r"worker\.log"):
        _keep_for_a_while(child)
    assert "what is wrong" in (tmp_path / "worker.log").read_text()


def _keep_for_a_while(child: Child) -> None:
    for _ in range(600):
        child.keep()
        time.sleep(0.05)
