"""The listening socket, and the connections that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
from collections.abc import Callable

from synthgen.errors import ResourceError
from synthgen.server.connection import Connection
from synthgen.server.exchange import Request
from synthgen.server.traffic import Traffic
from synthgen.specs import ServeSpec

BACKLOG = 1_024
#: How long a stop waits for requests under way.
GRACE_S = 1.5
#: How often a stop looks whether they are finished.
_LOOK_S = 0.01
#: Connections at a time, as far as the limit of open files allows; more wait to be accepted.
MAX_CONNECTIONS = 16_384
#: Open files that are not connections: the database's, those of answers under way, the program's own.
OTHER_FILES = 512
#: With fewer it does not start: those of the database, of the loop and of some connections are some fifty.
LEAST_FILES = 64


def bind(spec: ServeSpec) -> socket.socket:
    """Return a socket that listens where ``spec`` says; port 0 takes a free one.

    Raises ResourceError when the port is taken or the address is not of this machine.
    """
    host = spec.host
    if host.startswith("[") and host.endswith("]") and ":" in host:  # as in a URL
        host = host[1:-1]
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, spec.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        with contextlib.ExitStack() as on_error:
            on_error.callback(listener.close)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
    """Raise this process's soft limit of open files to its hard one; return how many connections fit.

    Raises ResourceError for a limit that leaves no room for any.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if soft < LEAST_FILES:
        raise ResourceError(
            f"{soft} files may be open at a time, {LEAST_FILES} are needed",
            next_step="raise the limit on open files (ulimit -n) and run the same command again",
        )
    return max(1, min(MAX_CONNECTIONS, soft - min(OTHER_FILES, soft // 2)))


class HttpServer:
    """All connections of one listening socket, each request handed to ``serve``."""

    def __init__(self, listener: socket.socket, traffic: Traffic, serve: Callable[[Request], None]) -> None:
        self._listener = listener
        self._traffic = traffic
        self._serve = serve

    async def start(self) -> None:
        """Take connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._traffic, self._serve), sock=self._listener, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Take no more, and return when what was under way is answered.

        Requests that are not whole by ``GRACE_S`` later are given up; nobody was told that they are stored.
        """
        self._server.close()
        connections = self._traffic.connections
        for connection in list(connections):
            connection.shut()
        deadline_s = self._traffic.now_s() + GRACE_S
        while connections and self._traffic.now_s() < deadline_s:
            await asyncio.sleep(_LOOK_S)
        for connection in list(connections):
            connection.abort()
        await asyncio.sleep(0)
