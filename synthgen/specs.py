"""What a user asked for, as frozen values that are checked once; and the protocols between rooms.

Imports the standard library and numpy types alone, so that every room may import it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputError, UsageError

SPEC_FORMAT_VERSION = 1
#: Raised whenever any byte of any dataset would change; a dataset of another version is refused.
GENERATOR_VERSION = 1
#: Version of the package that wrote each generator version, named when another one is needed.
PACKAGE_OF_GENERATOR = {1: "0.1"}

#: Rows of one chunk: the unit of determinism and of work. Every stream is keyed by the chunk.
CHUNK_ROWS = 1_000
#: Rows made and encoded at once, in scratch that fits a core's caches; divides a chunk.
BLOCK_ROWS = 100
#: Largest number of rows: chunk numbers are one 32-bit word of a SeedSequence key.
MAX_ROWS = 2**32 * CHUNK_ROWS
#: Digits of the row number in an id.
ROW_DIGITS = 13

#: What each law of geometry takes beside confidence and decimals; fields of :class:`DatasetSpec`.
LAW_PARAMETERS = {
    "isotropic": ("std_dev",),
    "mixture": ("tightness", "zipf", "near_duplicate_rate", "outlier_rate"),
}

DEFAULT_COUNT = 950_000
DEFAULT_SEED = 42
DEFAULT_PORT = 7432
DEFAULT_ENDPOINT = f"http://127.0.0.1:{DEFAULT_PORT}"
EMBEDDING_DIMENSION = 768
SYNTHETIC_PREFIX = "syn-"


def chunk_bounds(chunk: int, n_rows: int) -> tuple[int, int]:
    """Return the rows [start, stop) of ``chunk`` in a dataset of ``n_rows`` rows."""
    start = chunk * CHUNK_ROWS
    return start, min(start + CHUNK_ROWS, n_rows)


def n_chunks(n_rows: int) -> int:
    """Return how many chunks hold ``n_rows`` rows (the last one may be short)."""
    return -(-n_rows // CHUNK_ROWS)


def canonical_json(document: Mapping[str, Any]) -> str:
    """Return ``document`` as JSON with sorted keys and no blanks: equal documents give equal text."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True)
class ModelRef:
    """Which model a dataset was drawn from: its law, its numbers by digest, and where they lay.

    ``digest`` is a SHA-256 over all numbers and titles that a row depends on; ``source`` is a path
    (relative to the document that embeds the spec, or absolute) and no part of the fingerprint.
    """

    law: str
    digest: str
    dimension: int
    source: str = ""

    def identity(self) -> dict[str, Any]:
        """Return what rows depend on: everything but the source."""
        return {"law": self.law, "digest": self.digest, "dimension": self.dimension}


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset of memories, as a function: row i depends on this (without ``count``) and on i alone.

    ``confidence`` is the centre of the confidences, in [0, 1]; ``decimals`` the decimal grid of the
    embedding components (4 to 7); ``seed`` in [0, 2**63). The isotropic law has ``std_dev``, the standard
    deviation of the noise per component (0 < std_dev <= 100). The mixture law has, in its place,

    - ``tightness`` (0.01 to 100): rows stray this much less from their anchors; 1 as fitted;
    - ``zipf`` (0 to 8): clusters, by falling size, get weights times rank**-zipf; 0 as fitted;
    - ``near_duplicate_rate`` (0 to 1, or None as fitted): share of rows that have a near copy, at cosine 0.95
      or more, among the 1,000 rows of their chunk; the law's own near copies are held back;
    - ``outlier_rate`` (0 to 1): share of rows around the mean of all, in no cluster.
    """

    model: ModelRef
    count: int = DEFAULT_COUNT
    seed: int = DEFAULT_SEED
    std_dev: float = 0.1
    confidence: float = 0.7
    decimals: int = 6
    tightness: float = 1.0
    zipf: float = 0.0
    near_duplicate_rate: float | None = None
    outlier_rate: float = 0.0

    def __post_init__(self) -> None:
        _check_integer("--count", self.count, 1, MAX_ROWS)
        _check_integer("--seed", self.seed, 0, 2**63 - 1)
        _check_integer("--decimals", self.decimals, 4, 7)
        _check_number("--std-dev", self.std_dev, 1e-6, 100.0)
        _check_number("--confidence", self.confidence, 0.0, 1.0)
        _check_number("--tightness", self.tightness, 0.01, 100.0)
        _check_number("--zipf", self.zipf, 0.0, 8.0)
        if self.near_duplicate_rate is not None:
            _check_number("--near-duplicate-rate", self.near_duplicate_rate, 0.0, 1.0)
        _check_number("--outlier-rate", self.outlier_rate, 0.0, 1.0)
        self._check_law()

    def _check_law(self) -> None:
        mine = LAW_PARAMETERS.get(self.model.law)
        if mine is None:
            raise UsageError(f"no law is called {self.model.law!r}; there are: {', '.join(LAW_PARAMETERS)}")
        for name in (name for names in LAW_PARAMETERS.values() for name in names if name not in mine):
            if getattr(self, name) != getattr(type(self), name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} is no parameter of the {self.model.law} law, which the model has")

    def identity(self) -> dict[str, Any]:
        """Return all that rows depend on, as a JSON document without the count."""
        return {
            "format_version": SPEC_FORMAT_VERSION,
            "generator_version": GENERATOR_VERSION,
            "seed": self.seed,
            "model": self.model.identity(),
            "parameters": {
                "confidence": float(self.confidence),
                "decimals": self.decimals,
                **{name: self._law_parameter(name) for name in LAW_PARAMETERS[self.model.law]},
            },
        }

    def _law_parameter(self, name: str) -> float | None:
        value = getattr(self, name)
        return None if value is None else float(value)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of :meth:`identity`."""
        return hashlib.sha256(canonical_json(self.identity()).encode()).hexdigest()

    @property
    def id_prefix(self) -> str:
        """First part of every id: ``syn-<first 8 hex of the fingerprint>-``."""
        return f"{SYNTHETIC_PREFIX}{self.fingerprint[:8]}-"

    def memory_id(self, row: int) -> str:
        """Return the id of ``row``."""
        return f"{self.id_prefix}{row:0{ROW_DIGITS}d}"

    def to_document(self) -> dict[str, Any]:
        """Return the spec as a JSON document; :meth:`from_document` reads it back."""
        document = self.identity()
        document["count"] = self.count
        document["model"]["source"] = self.model.source
        document["fingerprint"] = self.fingerprint
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "spec") -> DatasetSpec:
        """Read what :meth:`to_document` wrote; raise InputError on any other version or shape."""
        _check_version(document, where)
        try:
            model = ModelRef(**{key: document["model"][key] for key in ("law", "digest", "dimension")})
            model = ModelRef(model.law, model.digest, model.dimension, document["model"].get("source", ""))
            spec = cls(model, document["count"], document["seed"], **document["parameters"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"not a dataset spec ({type(error).__name__}: {error})",
                where=where,
                next_step="give the .manifest.json of a generated file",
            ) from error
        if document.get("fingerprint", spec.fingerprint) != spec.fingerprint:
            raise InputError(
                "the spec's fingerprint does not match its content",
                where=where,
                next_step="it was edited by hand; make it again with `synthgen generate`",
            )
        return spec


def describe_difference(old: DatasetSpec, new: DatasetSpec) -> str:
    """Return in which fields two specs differ, as ``seed 42 -> 43, std_dev 0.1 -> 0.2``."""
    before, after = (_flatten(spec.identity()) for spec in (old, new))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return ", ".join(f"{key} {_short(before.get(key))} -> {_short(after.get(key))}" for key in changed)


def _short(value: object) -> str:
    text = str(value)
    return text[:8] + "..." if len(text) > 20 else text  # digests would drown the line


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_version(document: Mapping[str, Any], where: str) -> None:
    found = document.get("generator_version")
    if found is None or document.get("format_version") != SPEC_FORMAT_VERSION:
        raise InputError(
            "not a dataset spec of a version that this program reads",
            where=where,
            next_step="give the .manifest.json that `synthgen generate` wrote beside its output",
        )
    if found != GENERATOR_VERSION:
        version = PACKAGE_OF_GENERATOR.get(found, "another version")
        raise InputError(
            f"made by generator version {found}, this is {GENERATOR_VERSION}; its rows would differ",
            where=where,
            next_step=f"install synthgen {version} to read or extend it",
        )


def _check_integer(flag: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{flag} must be a whole number from {low:,} to {high:,}, not {value!r}")


def _check_number(flag: str, value: object, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high
    if not good or isinstance(value, bool):
        raise UsageError(f"{flag} must be a number from {low:g} to {high:g}, not {value!r}")


@dataclass(frozen=True)
class ServeSpec:
    """What the embedded server is asked to be. ``port`` 0 takes a free one."""

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    #: Stop when standard input ends: how a parent's death, however sudden, ends its server.
    stop_on_stdin_eof: bool = False
    as_json: bool = False

    def __post_init__(self) -> None:
        _check_integer("--port", self.port, 0, 65535)


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
        _check_integer("--concurrent", self.concurrent, 1, 1_000)
        _check_integer("--batch-size", self.batch_size, 1, 100_000)
        _check_integer("--processes", self.processes, 0, 256)


@dataclass(frozen=True)
class Rows:
    """Consecutive memories of a dataset, as arrays of fixed width.

    ``ids``: (n, i) uint8, ASCII; ``embeddings``: (n, d) int32, components in units of 10**-decimals;
    ``confidences``: (n,) int32 in millionths; ``contents``: (n, c) uint8, JSON-encoded strings (UTF-8,
    quotes included), padded with blanks; ``clusters``: (n,) int64, where the law has such, else empty.
    """

    start: int
    ids: NDArray[np.uint8]
    embeddings: NDArray[np.int32]
    confidences: NDArray[np.int32]
    contents: NDArray[np.uint8]
    clusters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.embeddings)


class RowMaker(Protocol):
    """A picklable function from row ranges to :class:`Rows`; all rows have the same widths."""

    @property
    def id_width(self) -> int:
        """Bytes of an id."""
        ...

    @property
    def content_width(self) -> int:
        """Bytes of a content, padding included."""
        ...

    def blocks(self, start: int, stop: int) -> Iterator[Rows]:
        """Yield rows [start, stop) in blocks whose arrays are valid until the next one is asked for."""
        ...


class RowReader(Protocol):
    """An opened source of request bodies; used by one thread of one process."""

    def read(self, start: int, stop: int) -> Sequence[bytes]:
        """Return the JSON bodies of rows [start, stop), each one object with id, content, embedding,
        confidence; raise InputError naming rows and offset where the source is damaged.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class RowSource(Protocol):
    """Where memories come from: picklable, opened anew by each process that reads it."""

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        ...

    @property
    def digest(self) -> str:
        """Hex digest that identifies the rows: equal digests mean equal bodies."""
        ...

    @property
    def name(self) -> str:
        """What to call it in messages: a path, or the spec's fingerprint."""
        ...

    def open(self) -> RowReader:
        """Open it in this process."""
        ...
