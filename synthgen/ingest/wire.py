"""One persistent connection of a group: a non-blocking socket, one request at a time.

    idle ──send──> connecting ──> sending ──> waiting ──> answered ──> idle
                        └────────────┴───────────┴──> broken: closed, the request's fate unknown

A request is a ready head and the body's bytes as they are, in one sendmsg. Answers are parsed by httptools
(llhttp), bounded in bytes and, from the start of the attempt, in seconds. Whatever is no whole, sound answer
breaks the connection; ids make it harmless to send such a request again. A connection that served before and
breaks without one byte of answer was most likely closed while idle: that is told apart (``stale``).
"""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import httptools

from synthgen.ingest.endpoint import Address
from synthgen.ingest.retry import Fault

if TYPE_CHECKING:
    from synthgen.ingest.supply import Job

#: No answer to one memory is longer; Engram's are below 1 kB.
MAX_ANSWER_BYTES = 256 * 1024
_KEPT_BODY_BYTES = 2_048
_RECEIVE_BYTES = 16_384
_READ = selectors.EVENT_READ
_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


class Owner(Protocol):
    """Who is told how requests end. ``answered`` may send the next one at once, ``broken`` must not."""

    def answered(self, connection: Connection, job: Job, reply: Reply) -> None:
        """Take a whole answer to ``job``."""
        ...

    def broken(self, connection: Connection, job: Job, fault: Fault, *, stale: bool) -> None:
        """Take note that the fate of ``job`` is unknown."""
        ...


class Reply:
    """A final answer: status, the Retry-After field, and the beginning of the body unless all is well."""

    __slots__ = ("body", "keep_alive", "latency_s", "retry_after", "status")

    def __init__(self) -> None:
        self.status = 0
        self.keep_alive = False
        self.retry_after = ""
        self.body = b""
        self.latency_s = 0.0


class Connection:
    """See the module. ``addresses`` are tried in order; ``selector`` keys carry :meth:`on_ready`."""

    def __init__(
        self, owner: Owner, selector: selectors.BaseSelector, addresses: Callable[[], list[Address]]
    ) -> None:
        self.job: Job | None = None
        self.started_s = 0.0
        self._owner = owner
        self._selector = selector
        self._addresses = addresses
        self._untried: list[Address] = []
        self._last_error = errno.EHOSTUNREACH
        self._socket: socket.socket | None = None
        self._connecting = False
        self._n_served = 0
        self._head = b""
        self._unsent: list[memoryview] = []
        self._parser: Any = None
        self._n_received = 0
        self._reply = Reply()
        self._n_complete = 0

    def send(self, job: Job, head: bytes) -> None:
        """Send ``job``, connecting first where needed; a failure may be told before this returns."""
        self.job = job
        self._head = head
        self._n_received = 0
        self._n_complete = 0
        self.started_s = time.perf_counter()
        if self._socket is None:
            self._untried = self._addresses()
            self._connect()
        else:
            self._transmit()

    def close(self) -> None:
        """Forget the socket; the next request opens a fresh one."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
        self._connecting = False
        self._unsent = []
        self._n_served = 0

    def expire(self, timeout_s: float) -> None:
        """Break the connection if its request is older than ``timeout_s``."""
        if self.job is not None and time.perf_counter() - self.started_s >= timeout_s:
            what = "no connection" if self._connecting else "no whole answer"
            self._break(Fault("connect" if self._connecting else "timeout", f"{what} within {timeout_s:g} s"))

    def abandon(self) -> Job | None:
        """Close the connection and return the job whose fate is then unknown."""
        job, self.job = self.job, None
        if job is not None:
            self.close()
        return job

    def on_ready(self, events: int) -> None:
        """Go on after the selector said that the socket is ready."""
        if self._connecting:
            self._connected()
        elif events & _READ:
            self._receive()
        elif self._unsent:
            self._flush()

    # --- connecting

    def _connect(self) -> None:
        while self._untried:
            family, address = self._untried.pop(0)
            try:
                opened = socket.socket(family, socket.SOCK_STREAM)
            except OSError as error:  # too many open files
                self._last_error = error.errno or 0
                continue
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = opened.connect_ex(address)
            if code in (0, errno.EINPROGRESS):
                self._socket = opened
                self._selector.register(opened, _BOTH, self.on_ready)
                self._connecting = True
                return
            opened.close()
            self._last_error = code
        self._break(Fault("connect", _error_text(self._last_error)))

    def _connected(self) -> None:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._last_error = code
            self.close()
            self._connect()
            return
        self._connecting = False
        self._selector.modify(self._socket, _READ, self.on_ready)
        self._parser = httptools.HttpResponseParser(self)
        self._transmit()

    # --- sending

    def _transmit(self) -> None:
        assert self._socket is not None
        assert self.job is not None
        body = self.job.body
        try:
            sent = self._socket.sendmsg((self._head, body))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._send_failed(error)
            return
        if sent < len(self._head) + len(body):
            whole = memoryview(b"".join((self._head, body)))
            self._unsent = [whole[sent:]]
            self._selector.modify(self._socket, _BOTH, self.on_ready)

    def _flush(self) -> None:
        assert self._socket is not None
        try:
            rest = self._unsent[0]
            rest = rest[self._socket.send(rest) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._send_failed(error)
            return
        self._unsent = [rest] if rest else []
        if not rest:
            self._selector.modify(self._socket, _READ, self.on_ready)

    def _send_failed(self, error: OSError) -> None:
        # The server may have answered (413, say) before it closed: that answer is worth reading.
        job = self.job
        n_received = -1
        while self.job is job and self._n_received > n_received:
            n_received = self._n_received
            self._receive()
        if self.job is job:
            self._break(Fault("reset", _error_text(error.errno)))

    # --- receiving

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(Fault("reset", _error_text(error.errno)))
            return
        if not data:
            self._break(Fault("reset", "closed in mid-answer" if self._n_received else "closed unanswered"))
        elif self.job is None:
            self.close()  # an answer to nothing: whatever it is, this connection is out of step
        else:
            self._digest(data)

    def _digest(self, data: bytes) -> None:
        self._n_received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(Fault("malformed", str(error)[:120]))
            return
        if self._n_complete == 1:
            self._complete()
        elif self._n_complete > 1:
            self._break(Fault("malformed", "more than one answer to one request"))
        elif self._n_received > MAX_ANSWER_BYTES:
            self._break(Fault("malformed", f"an answer of more than {MAX_ANSWER_BYTES:,} bytes"))

    def _complete(self) -> None:
        job, self.job = self.job, None
        assert job is not None
        reply, self._reply = self._reply, Reply()
        reply.latency_s = time.perf_counter() - self.started_s
        self._n_served += 1
        if not reply.keep_alive or self._unsent:
            self.close()
        self._owner.answered(self, job, reply)

    def _break(self, fault: Fault) -> None:
        job, self.job = self.job, None
        stale = self._n_served > 0 and self._n_received == 0 and fault.kind == "reset"
        self._reply = Reply()
        self.close()
        if job is not None:
            self._owner.broken(self, job, fault, stale=stale)

    # --- what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one field that matters."""
        if len(name) == 11 and name.lower() == b"retry-after":
            self._reply.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take status and persistence while the parser knows them."""
        self._reply.status = self._parser.get_status_code()
        self._reply.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep the beginning of an explanation."""
        reply = self._reply
        if reply.status >= 300 and len(reply.body) < _KEPT_BODY_BYTES:
            reply.body += body[:_KEPT_BODY_BYTES]

    def on_message_complete(self) -> None:
        """Count final answers; interim ones (1xx) are none (RFC 9110, 15.2)."""
        if self._reply.status >= 200:
            self._n_complete += 1
        else:
            self._reply = Reply()


def _error_text(code: int | None) -> str:
    return errno.errorcode.get(code or 0, "error").removeprefix("E").lower().replace("conn", "connection ")
