"""A proxy in front of a real server that changes its answers: for seeing that a check notices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from synthgen.server.incoming import MAX_BODY_BYTES
from tests.server.client import Client, Reply

#: Takes method and path of a request and the server's answer; returns the answer to give.
Tamper = Callable[[str, str, Reply], Reply]
_PASSED_ON = ("content-type", "x-memory-space")


@contextlib.contextmanager
def tampered(port: int, tamper: Tamper) -> Iterator[str]:
    """Run the proxy while the block lasts; yield its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # in small pieces each answer would take 40 ms (delayed acknowledgments)

        def _pass_on(self) -> None:
            n_bytes = int(self.headers.get("content-length", 0))
            is_large = n_bytes > MAX_BODY_BYTES  # refused at its announcement: what follows goes nowhere
            body = b"" if is_large else self.rfile.read(n_bytes) or None
            named = {name: value for name, value in self.headers.items() if name.lower() in _PASSED_ON}
            if body is not None:
                named.setdefault("Content-Type", "")  # the client would add its own
            if is_large:
                named["Content-Length"], self.close_connection = str(n_bytes), True
            with Client(port) as client:
                reply = tamper(self.command, self.path, client.send(self.command, self.path, body, **named))
            self.send_response(reply.status)
            for name in {"content-type", "connection"} & reply.headers.keys():
                self.send_header(name, reply.headers[name])
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            if is_large:  # closed with something unread, the connection would lose the answer
                self.wfile.flush()
                self.rfile.read(n_bytes)

        do_GET = do_POST = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_address[1]}"
        finally:
            proxy.shutdown()
            thread.join()
