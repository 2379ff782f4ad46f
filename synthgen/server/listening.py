"""The listening socket, and granian on it.

granian binds with SO_REUSEPORT, which lets two servers share a port unnoticed, and cannot say which
port it got for port 0. So the socket is bound here, without it, and handed over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server as GranianServer

from synthgen.errors import ResourceError
from synthgen.specs import ServeSpec

BACKLOG = 1_024
#: How long a stop waits for requests under way.
GRACE_S = 1.5

#: Head of a request, in bytes: a vector of 768 doubles as a query parameter, percent-encoded, has 30,000.
MAX_HEAD_BYTES = 128 * 1024
#: Longest that a head takes to arrive, an idle connection's next one included; then it is closed.
HEAD_TIMEOUT_S = 30
#: Longest that a client leaves what was sent to it untaken; then its connection is closed.
UNTAKEN_TIMEOUT_S = 60
#: Connections at a time, as far as the limit of open files allows; more wait to be accepted.
MAX_CONNECTIONS = 16_384
#: Open files that are not connections: the database's, those of answers under way, the program's own.
OTHER_FILES = 512

_SOCKET_HOLDER: Any = SocketHolder  # its stub leaves out the constructor


def bind(spec: ServeSpec) -> socket.socket:
    """Return a socket that listens where ``spec`` says; port 0 takes a free one.

    Raises ResourceError when the port is taken or the address is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            spec.host, spec.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        with contextlib.ExitStack() as on_error:
            on_error.callback(listener.close)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Taken over by each connection: without it the last part of a long answer waits 40 ms.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; taken over, too
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_TIMEOUT_S * 1_000)
            listener.bind(address)
            listener.listen(BACKLOG)
            listener.setblocking(False)
            on_error.pop_all()
    except OSError as error:
        raise ResourceError(
            f"cannot listen there ({error.strerror or error})",
            where=f"{spec.host or repr(spec.host)}:{spec.port}",
            next_step=_advice(error),
        ) from error
    return listener


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return "give as --host an address or a name of this machine, such as 127.0.0.1; 0.0.0.0 takes all"
    if error.errno == errno.EACCES:
        return "choose a --port above 1023 (0 takes a free one)"
    return "stop what uses the port, or choose another --port (0 takes a free one)"


def endpoint_of(listener: socket.socket) -> str:
    """Return the URL at which ``listener`` is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Return whether only this machine can reach ``listener``."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def allow_connections() -> int:
    """Raise this process's soft limit of open files to its hard one; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, soft - min(OTHER_FILES, soft // 2)))


class HttpServer(GranianServer):
    """granian, embedded in the running loop, on a socket that is already bound."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        super().__init__(
            app,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=allow_connections(),
            http1_settings=HTTP1Settings(
                header_read_timeout=HEAD_TIMEOUT_S * 1_000, max_buffer_size=MAX_HEAD_BYTES
            ),
            log_enabled=False,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        # What granian itself does on systems without SO_REUSEPORT: one socket, made before the worker.
        descriptor = self._listener.detach()  # granian closes it in the end
        self._sfd: Any = descriptor
        self._shd: Any = _SOCKET_HOLDER(descriptor, False, BACKLOG)
        self._ssp = None


async def run_http(app: Any, listener: socket.socket, started: asyncio.Event, stop: asyncio.Event) -> None:
    """Serve ``app`` on ``listener`` until ``stop`` is set and what was under way is finished.

    Requests that are not whole by ``GRACE_S`` after the stop are given up; nobody was told that they
    are stored.
    """
    server = HttpServer(app, listener)
    server.on_startup(started.set)
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait((serving,), timeout=GRACE_S)
    if serving.done():
        serving.result()
    else:
        serving.cancel()
