"""A stand-in of an object store: what S3 answers to put, get, head and list, in memory, and how often it was asked.

A write with ``If-None-Match: *`` is refused with 412 if there is such an object, checked and done as one step.
"""

import re
from collections import Counter
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class ObjectStore(ThreadingHTTPServer):
    """The server; ``objects`` has what is stored, by ``bucket/key``."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.created: Counter[str] = Counter()
        """How often each object was created or written again."""
        self.refused: Counter[str] = Counter()
        """How often it was there already."""
        self.read: Counter[str] = Counter()
        self.lost_answers: set[str] = set()
        """Objects whose next write is done, but not answered."""
        self.broken = False
        """Answer everything with an error that is not worth trying again."""
        self.lock = Lock()

    @property
    def environment(self) -> dict[str, str]:
        """What leads S3's clients here."""
        address = f"http://127.0.0.1:{self.server_port}"
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        return {"AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true", **keys}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectStore

    def setup(self) -> None:
        super().setup()
        self.name = ""

    def parse_request(self) -> bool:
        good = super().parse_request()
        self.name = unquote(urlsplit(self.path).path).strip("/") if good else ""
        if good and self.server.broken:
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return False
        return good

    def do_PUT(self) -> None:
        data, store = self.rfile.read(int(self.headers.get("Content-Length", 0))), self.server
        with store.lock:
            taken = self.name in store.objects and self.headers.get("If-None-Match") == "*"
            (store.refused if taken else store.created)[self.name] += 1
            if not taken:
                store.objects[self.name] = data
            lost = self.name in store.lost_answers
            store.lost_answers.discard(self.name)
        if lost:
            self.close_connection = True
        elif taken:
            self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self.answer(200, b"", data)

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if "list-type" in asked:
            self.list_objects(asked.get("prefix", [""])[0])
            return
        data = self.server.objects.get(self.name)
        if data is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        self.server.read[self.name] += self.command == "GET"
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.answer(200, data, data)
            return
        first = int(wanted[1]) if wanted[1] else len(data) - int(wanted[2])
        last = min(int(wanted[2]) if wanted[1] and wanted[2] else len(data) - 1, len(data) - 1)
        self.answer(206, data[first : last + 1], data, f"bytes {first}-{last}/{len(data)}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def list_objects(self, prefix: str) -> None:
        bucket = self.name
        with self.server.lock:
            found = [(name.removeprefix(f"{bucket}/"), len(data)) for name, data in self.server.objects.items()]
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>x</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, size in sorted(found)
            if key.startswith(prefix)
        )
        start = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>'
        self.answer(200, f"{start}{items}</ListBucketResult>".encode())

    def answer(self, code: int, body: bytes, stored: bytes = b"", range_: str = "") -> None:
        self.send_response(code)
        head = {"ETag": f'"{md5(stored).hexdigest()}"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        for name, value in {**head, "Content-Length": str(len(body)), "Content-Range": range_}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def object_store():
    """A running stand-in."""
    with ObjectStore() as store:
        thread = Thread(target=store.serve_forever, daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.shutdown()
            thread.join()
