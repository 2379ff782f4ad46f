"""Heads of answers, and bodies in chunks (RFC 9112, sections 4 and 7.1)."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from synthgen.server.answers import JSON_HEADERS, Answer, Headers

if TYPE_CHECKING:
    from synthgen.server.exchange import Request

_WITHOUT_BODY = (204, 304)


@cache
def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())


def _lines(headers: Headers) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()


@cache
def _json_start(status: int) -> bytes:
    return _status_line(status) + _lines(JSON_HEADERS)


def head_of(request: Request | None, answer: Answer, n_bytes: int | None, date: bytes) -> bytes:
    """Return the head of ``answer``, for a body of ``n_bytes``, or one in parts (None).

    ``request``: what is answered, if it came so far. ``date``: a line.
    """
    status = answer.status
    start = (
        _json_start(status)
        if answer.headers is JSON_HEADERS
        else _status_line(status) + _lines(answer.headers)
    )
    if status in _WITHOUT_BODY:
        length = b""
    elif n_bytes is not None:
        length = b"content-length: %d\r\n" % n_bytes
    else:
        assert request is not None
        length = b"" if request.is_http10 else b"transfer-encoding: chunked\r\n"
    if request is None:
        connection = b""  # said by the answer, or not at all
    elif not request.keeps_alive:
        connection = b"" if ("connection", "close") in answer.headers else b"connection: close\r\n"
    else:
        connection = b"connection: keep-alive\r\n" if request.is_http10 else b""
    return b"".join((start, length, connection, date, b"\r\n"))


def chunk_of(request: Request, part: bytes) -> bytes:
    """Return ``part``, not empty, as it is sent; as it is where the end of the connection ends the body."""
    return part if request.is_http10 else b"%x\r\n%s\r\n" % (len(part), part)


def last_chunk(request: Request) -> bytes:
    """Return what ends a body in parts."""
    return b"" if request.is_http10 else b"0\r\n\r\n"
