"""How fast the studio page answers while a training uses every core, and how soon after `headcanon up` it is there.

    python benchmarks/answers.py --requests 50 --port 4300

A new studio with the demo's models and one character of fourteen screenshots. `headcanon up`; the seconds until its
first line and until the page answers. Then a run is started on the page, and when it trains, each page is asked for so
many times, one after the other in turn, as a browser does it that is open beside the training. Prints the median and
the worst of each, and how busy the machine was. The run is cancelled in the end.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from demo.project import MODELS
from demo.world import TARGET, screenshots

_PRESET = """
name = "preset"
trigger = "momo"
character = "."
method = "captions-only"
base = '{models}/base'
preprocess = {{ size = 256 }}
downscale = {{ size = 96 }}
captions = {{ memorize = ["pink_hair", "twintails", "cat_ears", "green_eyes"] }}
character_training = {{ resolution = 128, epochs = 200, batch = 8, rank = 16, alpha = 8 }}
sampling = {{ width = 128, height = 128, while_training = 2 }}
[tagger]
model = '{models}/tagger'
"""
_PATIENCE_SECONDS = 600.0
_PAGE = {"x-headcanon": "page"}


def main() -> None:
    """Start a studio, train in it, ask for its pages, and print how long they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--port", type=int, default=4300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        (home / "recipes").mkdir()
        (home / "recipes" / "default.toml").write_text(_PRESET.format(models=MODELS))
        plan = {"close-up": 2, "portrait": 4, "upper_body": 5, "cowboy_shot": 3}
        screenshots(TARGET, home / "characters" / "momo", seed=4, plan=plan)
        started = time.monotonic()
        command = [sys.executable, "-c", "from flows.cli import main; main()", "up", made, "--port", str(asked.port)]
        environment = {**os.environ, "PREFECT_HOME": str(home / ".prefect")}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as up:
            assert up.stdout is not None
            up.stdout.readline()
            print(f"first line after {time.monotonic() - started:.1f} s")
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{asked.port}/studio", timeout=_PATIENCE_SECONDS) as page:
                    _measure(page, started, asked.requests)
            finally:
                up.send_signal(signal.SIGINT)


def _measure(page: httpx.Client, started: float, requests: int) -> None:
    _until(lambda: page.get("/").is_success)
    print(f"page after {time.monotonic() - started:.1f} s")
    page.get("/c/momo/sheet").raise_for_status()
    _until(lambda: page.post("/c/momo/start", json={"preset": "default"}, headers=_PAGE).is_success)
    run = page.post("/c/momo/start", json={"preset": "default"}, headers=_PAGE).json()["go"].rpartition("/")[2]
    _until(lambda: "train character" in page.get(f"/r/{run}").text.partition('id="doing"')[2][:200])
    addresses = {"characters": "/", "a character": "/c/momo", "a run": f"/r/{run}", "the queue": "/queue"}
    took: dict[str, list[float]] = {name: [] for name in addresses}
    psutil.cpu_percent()
    for _ in range(requests):
        for name, address in addresses.items():
            begun = time.monotonic()
            page.get(address).raise_for_status()
            took[name].append(time.monotonic() - begun)
    print(f"cores busy {psutil.cpu_percent():.0f} %, load {os.getloadavg()[0]:.1f}")
    for name, seconds in took.items():
        print(f"{name}: median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s")
    page.post(f"/r/{run}/cancel", json={}, headers=_PAGE).raise_for_status()


def _until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < end:
        try:
            if what():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the studio does not get there")


if __name__ == "__main__":
    main()
