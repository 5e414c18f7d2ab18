"""Health checks of containers: `python -m flows.healthy server URL` or `… worker`; exit status 0 when all is well."""

import sys

import httpx
import psutil


def server(address: str) -> bool:
    """Whether a Prefect server answers at its API's address."""
    try:
        return httpx.get(f"{address}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def worker() -> bool:
    """Whether a worker's process lives on this machine."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "flows.service" in words and "worker" in words:
            return True
    return False


if __name__ == "__main__":
    well = server(sys.argv[2]) if sys.argv[1] == "server" else worker()
    sys.exit(0 if well else 1)
