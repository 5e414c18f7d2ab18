"""A small hub on this machine that speaks as much of the hub's HTTP as a commit of small files needs."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs


class Hub:
    """What was sent, and what is kept.

    Attributes:
        files: repository → name → bytes.
        private: repository → whether it was made so.
        tokens: every Authorization header.
        token: the only one that may write.
        commit: of every repository, for who reads.
        asked: every path that was read.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: list[str] = []
        self.address = ""
        self.commit = "c" * 40
        self.asked: list[str] = []

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON for a POST."""
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
            taken = name in self.files
            self.files.setdefault(name, {})
            self.private.setdefault(name, told.get("private") or told.get("visibility") == "private")
            return (409 if taken else 200), {"url": f"{self.address}/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        name, _, what = path.removeprefix("/api/models/").removesuffix("/main").rpartition("/")
        answers = {"preupload": self._preupload, "paths-info": self._paths_info, "commit": self._commit}
        return answers[what](name, body)

    def read(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a GET: a repository's list of files, or one of them, at a commit."""
        self.asked.append(path)
        if path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("?")[0].partition("/revision/")
            if name not in self.files or revision not in ("", "main", self.commit):
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            listed = [self._listed(file, data) for file, data in self.files[name].items()]
            told = {"id": name, "modelId": name, "sha": self.commit, "siblings": listed}
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        name, _, rest = path.strip("/").partition("/resolve/")
        commit, _, file = rest.partition("/")
        if commit != self.commit or file not in self.files.get(name, {}):
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        data = self.files[name][file]
        return 200, {"X-Repo-Commit": self.commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}, data

    @staticmethod
    def _listed(file: str, data: bytes) -> dict[str, Any]:
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
        large = file.endswith((".safetensors", ".onnx"))
        return {"rfilename": file, "size": len(data), "blobId": blob_id(data)} | ({"lfs": lfs} if large else {})

    def _preupload(self, name: str, body: bytes) -> tuple[int, Any]:
        files = json.loads(body)["files"]
        return 200, {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}

    def _paths_info(self, name: str, body: bytes) -> tuple[int, Any]:
        wanted = parse_qs(body.decode())["paths"]
        found = {path: data for path, data in self.files[name].items() if path in wanted}
        return 200, [
            {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)} for path, data in found.items()
        ]

    def _commit(self, name: str, body: bytes) -> tuple[int, Any]:
        for line in body.splitlines():
            told = json.loads(line)
            if told["key"] == "file":
                self.files[name][told["value"]["path"]] = base64.b64decode(told["value"]["content"])
        return 200, {"commitUrl": f"{self.address}/{name}/commit/1", "commitOid": "1" * 40, "success": True}


def blob_id(data: bytes) -> str:
    """As git counts it."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def running_hub(token: str) -> Iterator[Hub]:
    """A hub at `hub.address` while the block runs."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self._chunks()
            hub.tokens.append(self.headers.get("Authorization", ""))
            allowed = hub.tokens[-1] == f"Bearer {hub.token}"
            status, told = hub.answer(self.path, body) if allowed else (401, {"error": "Invalid credentials"})
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._answer_reader(hub.read(self.path))

        def do_HEAD(self) -> None:
            self._answer_reader(hub.read(self.path), head=True)

        def _answer_reader(self, answer: tuple[int, dict[str, str], bytes], *, head: bool = False) -> None:
            status, headers, body = answer
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if not head:
                self.wfile.write(body)

        def _chunks(self) -> bytes:
            data = b""
            while "chunked" in self.headers.get("Transfer-Encoding", ""):
                size = int(self.rfile.readline().strip(), 16)
                data += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    break
            return data

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
