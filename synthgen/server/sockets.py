"""What the system knows of the connections of this machine: Linux's tables in /proc/net."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def clients_with_unsent(tables: tuple[Path, ...] = _TABLES) -> set[str] | None:
    """Return the remote ends, ``address:port``, of all connections with bytes that were not taken yet.

    None where the system does not tell. Columns: proc(5); addresses are words in the machine's order.
    """
    found, is_told = set[str](), False
    for table in tables:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                remote, queues = line.split()[2:5:2]
                if int(queues.partition(":")[0], 16):
                    found |= _names(remote)
            is_told = True
    return found if is_told else None


def _names(remote: str) -> set[str]:
    """Return how an end may be spelled: an IPv4 address that an IPv6 socket has, also by itself."""
    digits, _, port = remote.partition(":")
    words = bytes.fromhex(digits)
    packed = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    address = ipaddress.ip_address(packed)
    names = names_of(str(address), int(port, 16))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        for host in (str(address.ipv4_mapped), f"::ffff:{address.ipv4_mapped}"):
            names |= names_of(host, int(port, 16))
    return names


def names_of(host: str, port: int) -> set[str]:
    """Return how the end of a connection may be spelled."""
    return {f"{host}:{port}", f"[{host}]:{port}"}
