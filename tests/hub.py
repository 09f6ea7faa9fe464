"""A stand-in for the Hub on loopback: real HTTP with ranges, redirects to a "CDN", the headers and
the model-info JSON that huggingface_hub reads. It can cut connections, stall, lie and refuse.

    with StandIn() as hub:
        hub.repos["owner/name"] = Repo({"config.json": b"{}", "model.safetensors": b"..."})
        run(env={"HF_ENDPOINT": hub.url})
        assert hub.asked[0].method == "GET"
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LARGE = (".safetensors", ".gguf", ".bin")
"""What a repo keeps outside git, with a sha256."""
_STEP_BYTES = 64 * 1024


@dataclass
class Repo:
    files: dict[str, bytes]
    commit: str = "c0ffee" + "0" * 34
    gated: bool = False


@dataclass
class Asked:
    """A request, and how many bytes of a body it was sent."""

    method: str
    path: str
    range: str | None
    status: int = 0
    sent_bytes: int = 0


@dataclass
class StandIn:
    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cuts: int = 0
    """So many large bodies break off at 40 %."""
    stall: threading.Event | None = None
    """A large body stops at 40 % until this is set."""
    lies: bool = False
    """Large bodies have another first byte than published."""

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.stall is not None:
            self.stall.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def bodies(self) -> list[Asked]:
        """Return the requests for large files themselves."""
        return [a for a in self.asked if a.method == "GET" and a.path.startswith("/cdn/")]

    def large(self, sha256: str) -> bytes:
        for repo in self.repos.values():
            for data in repo.files.values():
                if _sha256(data) == sha256:
                    return data
        raise KeyError(sha256)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _model_info(name: str, repo: Repo) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = []
    for path, data in repo.files.items():
        sibling = {"rfilename": path, "size": len(data), "blobId": _git_sha1(data)}
        if path.endswith(LARGE):
            sibling["lfs"] = {"sha256": _sha256(data), "size": len(data), "pointerSize": 134}
        siblings.append(sibling)
    return {"id": name, "modelId": name, "sha": repo.commit, "siblings": siblings, "tags": []}


def _handler(hub: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            self._asked = Asked(self.command, self.path, self.headers.get("Range"))
            hub.asked.append(self._asked)
            path = self.path.partition("?")[0]
            if info := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
                return self._info(info[1], info[2])
            if file := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self._file(file[1], file[2], file[3])
            if large := re.fullmatch(r"/cdn/([0-9a-f]{64})(/.*)?", path):
                return self._large(hub.large(large[1]))
            return self._refuse(404, "EntryNotFound")

        def _repo(self, name: str, revision: str | None) -> Repo | None:
            repo = hub.repos.get(name)
            if repo is None:
                self._refuse(404, "RepoNotFound")
                return None
            if revision not in (None, "main", repo.commit):
                self._refuse(404, "RevisionNotFound")
                return None
            return repo

        def _info(self, name: str, revision: str | None) -> None:
            if repo := self._repo(name, revision):
                self._whole(json.dumps(_model_info(name, repo)).encode(), {})

        def _file(self, name: str, revision: str, path: str) -> None:
            repo = self._repo(name, revision)
            if repo is None:
                return
            if repo.gated:
                self._refuse(401 if "Authorization" not in self.headers else 403, "GatedRepo")
            elif path not in repo.files:
                self._refuse(404, "EntryNotFound")
            elif path.endswith(LARGE):
                sha256 = _sha256(repo.files[path])
                self._head(
                    302,
                    0,
                    {
                        "X-Repo-Commit": repo.commit,
                        "X-Linked-Etag": f'"{sha256}"',
                        "X-Linked-Size": str(len(repo.files[path])),
                        "Location": f"{hub.url}/cdn/{sha256}",
                    },
                )
            else:
                etag = f'"{_git_sha1(repo.files[path])}"'
                self._whole(repo.files[path], {"X-Repo-Commit": repo.commit, "ETag": etag})

        def _large(self, data: bytes) -> None:
            size, first = len(data), 0
            if hub.lies:
                data = bytes([data[0] ^ 1]) + data[1:]
            if asked := re.fullmatch(r"bytes=(\d+)-", self._asked.range or ""):
                first = int(asked[1])
            if first >= size:
                self._head(416, 0, {"Content-Range": f"bytes */{size}"})
                return
            headers = {"Accept-Ranges": "bytes"}
            if first:
                headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
            self._head(206 if first else 200, size - first, headers)
            if self.command == "HEAD":
                return
            stop = size
            if hub.cuts or hub.stall:
                stop = max(first, size * 2 // 5)
            self._write(data[first:stop])
            if hub.cuts:
                hub.cuts -= 1
                self.close_connection = True
            elif hub.stall:
                hub.stall.wait()
                self._write(data[stop:])

        def _write(self, data: bytes) -> None:
            try:
                for first in range(0, len(data), _STEP_BYTES):
                    self.wfile.write(data[first : first + _STEP_BYTES])
                    self._asked.sent_bytes += len(data[first : first + _STEP_BYTES])
            except ConnectionError:
                self.close_connection = True

        def _whole(self, data: bytes, headers: dict[str, str]) -> None:
            self._head(200, len(data), headers)
            if self.command == "GET":
                self._write(data)

        def _refuse(self, status: int, code: str) -> None:
            self._head(status, 0, {"X-Error-Code": code, "X-Error-Message": code})

        def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
            self._asked.status = status
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

    return Handler
