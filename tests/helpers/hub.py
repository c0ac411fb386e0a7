"""A stand-in of the Hugging Face hub: what it answers to its library for models, in memory, on the loopback.

Every upload is answered as a small file, sent within the commit; the hub itself takes weights by another road, which is
the library's matter.
"""

import json
from base64 import b64decode
from collections import Counter
from contextlib import contextmanager
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """The server; ``commits`` has the files of each commit, ``branches`` the newest commit of each repository."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.downloads: Counter[str] = Counter()
        """How often each file was sent, by ``repository/file``."""
        self.private: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add files to a repository; the name of the new commit comes back."""
        before = self.branches.get(repository, "")
        everything = self.commits.get(before, {}) | files
        name = sha1(repr((before, sorted(everything.items()))).encode()).hexdigest()
        self.commits[name] = everything
        self.branches[repository] = name
        return name


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if len(parts) < 5 or parts[2] != "resolve":
            return self._answer(404, {}, {"X-Error-Code": "RepoNotFound"})
        repository, revision, file = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
        if repository not in self.server.branches or repository in self.server.private:
            return self._answer(401, {}, {"X-Error-Code": "RepoNotFound"})
        commit = self.server.branches[repository] if revision == "main" else revision
        if commit not in self.server.commits:
            return self._answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        data = self.server.commits[commit].get(file)
        if data is None:
            return self._answer(404, {}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        if self.command == "GET":
            self.server.downloads[f"{repository}/{file}"] += 1
        return self._answer(200, data, {"X-Repo-Commit": commit, "ETag": f'"{sha1(data).hexdigest()}"'})

    def do_POST(self) -> None:
        body = self._body()
        parts = urlsplit(self.path).path.strip("/").split("/")
        if self.headers.get("Authorization") != "Bearer write":
            return self._answer(401, {"error": "Invalid username or password."}, {})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.server.branches.setdefault(name, self.server.commit(name, {}))
            return self._answer(200, {"url": f"{self.server.address}/{name}"}, {})
        if parts == ["api", "validate-yaml"]:
            return self._answer(200, {"errors": [], "warnings": []}, {})
        repository, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self._answer(200, {"files": [file | {"shouldIgnore": False} for file in files]}, {})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {line["value"]["path"]: b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"}
        name = self.server.commit(repository, files)
        url = f"{self.server.address}/{repository}/commit/{name}"
        return self._answer(200, {"commitUrl": url, "commitOid": name, "success": True}, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, content: bytes | dict[str, object], headers: dict[str, str]) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def hub():
    """Run a stand-in as long as the block lasts."""
    server = Hub()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
