"""The page for people at GET /: one HTML file, sent with a policy under which nothing else can run.

The policy names the page's own script and style by their digests (Content Security Policy Level 3,
W3C), so that markup which got into the page from a stored memory would neither run nor be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from synthgen.server.answers import Answer, Headers
from synthgen.server.exchange import Request

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


async def show_page(request: Request) -> Answer:
    """Answer GET /: the page, or 304 to a browser that has it."""
    body, headers = load_page()
    if request.header("if-none-match") == dict(headers)["etag"]:
        return Answer(304, headers, b"")
    return Answer(200, headers, body)


@cache
def load_page() -> tuple[bytes, Headers]:
    """Return the page in UTF-8 and the headers that it is sent with; read once."""
    body = (files("synthgen.server") / "page.html").read_bytes()
    return (
        body,
        [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", policy_of(body.decode())),
            (
                "cache-control",
                "no-cache",
            ),  # may be kept, but is asked for: another version may run here by then
            ("etag", f'"{hashlib.sha256(body).hexdigest()[:32]}"'),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ],
    )


def policy_of(page: str) -> str:
    """Return the Content-Security-Policy for ``page``: its inline script and style, this server, no more."""
    allowed: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(allowed['script'])}",
            f"style-src {' '.join(allowed['style'])}",
            "connect-src 'self'",
            "img-src data:",  # the empty icon
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
