"""What `headcanon up` keeps running, and when it gives up."""

import sys
import time
from pathlib import Path

import pytest

from flows.children import Child, ServiceError


def _keep_for_ever(child: Child) -> None:
    while True:
        child.keep()
        time.sleep(0.02)


def test_a_child_that_ends_again_and_again_at_once_is_given_up_with_the_place_of_its_log(tmp_path: Path) -> None:
    child = Child("server", (), {}, tmp_path / "log")
    child._command = (sys.executable, "-c", "raise SystemExit(3)")
    child.start()
    with pytest.raises(ServiceError, match=r"the server ends right after its start.*log"):
        _keep_for_ever(child)
