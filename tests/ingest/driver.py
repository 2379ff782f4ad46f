"""One ingest as a command of its own, which tests can kill: ``python -m tests.ingest.driver JSON``."""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path

from synthgen.errors import SynthgenError
from synthgen.ingest import ingest
from synthgen.specs import IngestSpec
from tests.ingest.rows import TestRows


def main() -> int:
    settings = json.loads(sys.argv[1])
    rows = TestRows(**settings.pop("rows"))
    file_bytes = settings.pop("file_bytes", None)
    if file_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    settings["ledger"] = Path(settings["ledger"])
    settings["spaces"] = tuple(settings.get("spaces", ()))
    try:
        report = ingest(rows, IngestSpec(**settings))
    except SynthgenError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(report.to_document()))
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
