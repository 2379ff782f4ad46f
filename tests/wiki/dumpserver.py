"""A server of dumps over real HTTP, with Range, If-Range and checksums, that misbehaves as it is told."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DATED = "testwiki-20260101-pages-articles-multistream.xml.bz2"
LATEST = "testwiki-latest-pages-articles-multistream.xml.bz2"
SUMS = "testwiki-latest-sha1sums.txt"


@dataclass
class Answer:
    """How one request for the file is answered; what is not said is as a good server does it."""

    status: int = 0
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    sent_bytes: int | None = None
    """The connection ends after so many bytes of the body."""
    ranges: bool = True
    dropped: bool = False
    """The connection ends without any answer."""
    before: Callable[[], None] = lambda: None


@dataclass
class DumpServer:
    """``answers`` are for the next requests for the file, one each; ``requests`` are those that came."""

    content: bytes
    etag: str | None = '"one"'
    modified: str | None = "Thu, 01 Jan 2026 00:00:00 GMT"
    sums: str | None = ""
    answers: list[Answer] = field(default_factory=list)
    sums_answers: list[Answer] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    @property
    def url(self) -> str:
        return f"{self.address}/{LATEST}"

    def ranges(self) -> list[str | None]:
        """Return the Range headers of the requests for the file, in order."""
        return [headers.get("Range") for path, headers in self.requests if path.endswith(LATEST)]

    def listing(self) -> str:
        if self.sums:
            return self.sums
        sha1 = hashlib.sha1(self.content).hexdigest()
        other = "0" * 40
        return f"{other}  {DATED.replace('-multistream', '')}\n{sha1}  {DATED}\n{other}  {DATED}-rss.xml\n"


@contextmanager
def serve(server: DumpServer) -> Iterator[DumpServer]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers.items())))
            name = self.path.partition("?")[0].rpartition("/")[2]
            if name == SUMS:
                self.reply_with_sums()
            elif name == LATEST:
                self.reply_with_file(server.answers.pop(0) if server.answers else Answer())
            else:
                self.reply(404, {}, b"")

        def reply_with_sums(self) -> None:
            answer = server.sums_answers.pop(0) if server.sums_answers else Answer()
            if server.sums is None:
                self.reply(404, {}, b"no such file")
            elif answer.status:
                self.reply(answer.status, answer.headers, b"")
            else:
                self.reply(200, {}, server.listing().encode())

        def reply_with_file(self, answer: Answer) -> None:
            answer.before()
            if answer.dropped:
                self.close_connection = True
                return
            status, headers, body = self.good_answer(answer.ranges)
            if answer.status:
                status, body = answer.status, b"sorry"
            if answer.body is not None:
                body = answer.body
            headers["Content-Length"] = str(len(body))
            self.reply(status, headers | answer.headers, body, answer.sent_bytes)

        def good_answer(self, ranges: bool) -> tuple[int, dict[str, str | None], bytes]:
            headers: dict[str, str | None] = {"ETag": server.etag, "Last-Modified": server.modified}
            wanted = self.headers.get("Range")
            condition = self.headers.get("If-Range")
            if not ranges or wanted is None or condition not in {None, server.etag, server.modified}:
                return 200, headers, server.content
            start, total = int(wanted.removeprefix("bytes=").rstrip("-")), len(server.content)
            if start >= total:
                return 416, {"Content-Range": f"bytes */{total}"}, b""
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            return 206, headers, server.content[start:]

        def reply(
            self, status: int, headers: dict[str, str | None], body: bytes, sent_bytes: int | None = None
        ) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:sent_bytes])
            self.close_connection = self.close_connection or sent_bytes is not None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.address = f"http://127.0.0.1:{http.server_port}/testwiki/latest"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
