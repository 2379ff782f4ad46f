"""The output formats by name, and which one a file's name means."""

from __future__ import annotations

from pathlib import Path

from synthgen.errors import UsageError
from synthgen.formats.encoding import Encoding
from synthgen.formats.fixed import Fbin, JsonLines, Npy
from synthgen.formats.jsonl import LineLayout
from synthgen.formats.parquet import Parquet
from synthgen.formats.zstd import ZstdLines
from synthgen.specs import FORMATS, DatasetSpec

_ENCODINGS: dict[str, type[Encoding]] = {
    encoding.name: encoding for encoding in (JsonLines, ZstdLines, Parquet, Npy, Fbin)
}
DEFAULT_FORMAT = JsonLines.name


def format_of(output: Path | None) -> str:
    """Return the format that the name of ``output`` means; JSON lines where it means none."""
    name = "" if output is None else output.name
    return next((format_ for format_ in FORMATS if name.endswith(f".{format_}")), DEFAULT_FORMAT)


def make_encoding(name: str, layout: LineLayout, spec: DatasetSpec, rows: range | None = None) -> Encoding:
    """Return how rows ``rows`` (None: all) of the dataset ``spec`` become a file of the format ``name``.

    ``layout``: the widths of the dataset's rows. Raises UsageError for an unknown name, or for more rows than
    the format can hold.
    """
    if name not in _ENCODINGS:
        raise UsageError(f"no format is called {name!r}; there are: {', '.join(FORMATS)}")
    return _ENCODINGS[name](layout, spec, range(spec.count) if rows is None else rows)
