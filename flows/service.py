"""Prefect's server or worker as a child that ends with its parent, however that ends: `python -m flows.service …`.

The parent holds the other end of this process' standard input. When it is gone, killed or not, that pipe closes.
`private-server FD` is no command of Prefect's, but its API for one run, on a socket that the parent listens at already;
where no socket can be handed on (Windows), `private-server :PORT`.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, MutableMapping
from importlib import import_module

from flows.process_signals import ask_self

_ENDS_SECONDS = 10.0


def _end_with_parent(at_once: bool) -> None:
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    ask_self(signal.SIGTERM)
    if at_once:
        time.sleep(_ENDS_SECONDS)
        os._exit(1)


def main() -> None:
    """Run the server behind our door, or a worker of ours by Prefect's command line, with this process' arguments."""
    private = sys.argv[1] == "private-server"
    threading.Thread(target=_end_with_parent, args=(private,), daemon=True).start()
    if private:
        _serve(_socket(sys.argv[2]))
        return
    if sys.argv[1:3] == ["server", "start"]:
        import_module("flows.server").main(sys.argv[3:])
        return
    keep_what_runs_need(os.environ)
    from prefect.cli import app

    import_module("flows.worker")
    sys.argv[0] = "prefect"
    app()


def _socket(where: str) -> socket.socket:
    """A socket to listen at: an open one's number, or `:PORT`."""
    if not where.startswith(":"):
        return socket.socket(fileno=int(where))
    listening = socket.socket()
    listening.bind(("127.0.0.1", int(where[1:])))
    return listening


def _serve(listening: socket.socket) -> None:
    """As `prefect.server.api.server.SubprocessASGIServer` does."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            with _alone():  # two that make or upgrade the same database get in each other's way
                await super().startup(sockets)

    config = uvicorn.Config("flows.server:guarded", factory=True, log_level="error", lifespan="on")
    server = Server(config)
    server.run(sockets=[listening])
    sys.exit(0 if server.started else 1)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One server of this Prefect home starts at a time, where its disk keeps locks."""
    from prefect.settings import PREFECT_HOME

    from lora_core.store.locks import alone

    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            home = PREFECT_HOME.value()
            home.mkdir(parents=True, exist_ok=True)
            held.enter_context(alone(home / "starting.lock", lambda _: None))
        yield


_NEEDED = frozenset(
    (
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TERM", "TMPDIR", "TEMP", "TMP",
        "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "CC", "CXX", "DO_NOT_TRACK", "NO_COLOR",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA",
    )
)  # fmt: skip
# Ours, Prefect's, the hub's and the bucket's with their credentials; then how the machine computes.
_PREFIXES = (
    "HEADCANON_", "PREFECT_", "HF_", "HUGGINGFACE_", "AWS_",
    "PYTHON", "LC_", "XDG_", "SSL_", "TRANSFORMERS_", "DIFFUSERS_", "TOKENIZERS_",
    "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "GLOO_", "HIP_", "HSA_", "ROCR_", "ROCM_",
    "TORCH", "PYTORCH_", "TRITON_", "ATEN_", "ORT_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_",
)  # fmt: skip
# Of these, what only `headcanon up` and the server need: the database with its password, the webhook's address.
_OTHERS = ("HEADCANON_DATABASE", "HEADCANON_NOTIFY", "PREFECT_SERVER_", "PREFECT_API_DATABASE_")


def is_needed(name: str) -> bool:
    """Whether runs need a variable."""
    upper = name.upper()  # proxies are set in small letters too
    return (upper in _NEEDED or upper.startswith(_PREFIXES)) and not upper.startswith(_OTHERS)


def keep_what_runs_need(environment: MutableMapping[str, str]) -> None:
    """Take everything else away; a worker's runs inherit what is left."""
    for name in [name for name in environment if not is_needed(name)]:
        del environment[name]


if __name__ == "__main__":
    main()
