"""What a server and a delivery are asked to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import UsageError
from synthgen.specs.checks import check_integer

DEFAULT_PORT = 7432
DEFAULT_ENDPOINT = f"http://127.0.0.1:{DEFAULT_PORT}"

#: Environment variable with the bearer token that a client sends and a server requires; it is read where it
#: is used, never passed on and never written anywhere.
API_KEY_VARIABLE = "SYNTHGEN_API_KEY"


def check_api_key(text: str) -> str:
    """Return the token that ``text`` holds, without the blanks around it; empty where there is none.

    Raises UsageError for what no header may hold; the message does not show it.
    """
    key = text.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"{API_KEY_VARIABLE} holds characters that no header may hold",
            next_step="put a token of ASCII letters, digits and signs into it, without blanks",
        )
    return key


@dataclass(frozen=True)
class ServeSpec:
    """What the embedded server is asked to be. ``port`` 0 takes a free one."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    #: Stop when standard input ends: how a parent's death, however sudden, ends its server.
    stop_on_stdin_eof: bool = False
    as_json: bool = False
    #: Names of what the server shall do wrong on purpose (server/quirks.py has them); None: nothing.
    quirks: str | None = None
    #: Answer nobody who does not send the key that ``API_KEY_VARIABLE`` holds.
    require_key: bool = False

    def __post_init__(self) -> None:
        check_integer("--port", self.port, 0, 65535)


@dataclass(frozen=True)
class IngestSpec:
    """How memories are sent: to ``endpoint``, over ``concurrent`` connections in all, in ``batch_size`` rows.

    ``processes`` 0 lets the machine decide. Rows go to the spaces ``spaces`` by row index modulo their
    number; an empty tuple means the server's default space. ``ledger`` is the file of acknowledgements;
    dead letters go beside it. The run stops when more than ``max_errors`` rows, or ``max_error_share`` of
    them, are dead. ``verify`` reads everything back at the end.
    """

    endpoint: str
    ledger: Path
    concurrent: int = 20
    batch_size: int = 1_000
    processes: int = 0
    spaces: tuple[str, ...] = ()
    max_errors: int | None = None
    max_error_share: float | None = None
    verify: bool = True
    timeout_s: float = 30.0
    quiet: bool = False
    #: What the ledger calls the database, where something better than its address is known: an embedded
    #: server takes another port each time, and a database made anew is another one at the same address.
    target: str = ""

    def __post_init__(self) -> None:
        check_integer("--concurrent", self.concurrent, 1, 1_000)
        check_integer("--batch-size", self.batch_size, 1, 100_000)
        check_integer("--processes", self.processes, 0, 256)
