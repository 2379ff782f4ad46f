"""``python -m tests.server.impatient``: the server, but that it waits a fifth as long for slow clients."""

from __future__ import annotations

import sys

from synthgen.server import listening, traffic

traffic.TURN_TIMEOUT_S = traffic.PART_TIMEOUT_S = 6.0
listening.HEAD_TIMEOUT_S, listening.UNTAKEN_TIMEOUT_S = 6, 12
traffic.UNTAKEN_TIMEOUT_S = 18.0

from synthgen.server import exchange  # noqa: E402  (its defaults are those of traffic)

exchange.BODY_TIMEOUT_S = 6.0

from synthgen.server.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
