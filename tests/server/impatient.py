"""``python -m tests.server.impatient``: the server, but that it waits a fifth as long for slow clients."""

from __future__ import annotations

import sys

from synthgen.server import connection
from synthgen.server.__main__ import main

connection.HEAD_TIMEOUT_S = connection.BODY_TIMEOUT_S = connection.PART_TIMEOUT_S = 6.0
connection.UNTAKEN_TIMEOUT_S = 12.0

if __name__ == "__main__":
    sys.exit(main())
