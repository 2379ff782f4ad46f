"""A dataset as a value: its spec, its versions and units, its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from synthgen.errors import InputError, UsageError
from synthgen.specs.checks import check_integer, check_number

SPEC_FORMAT_VERSION = 1
#: Raised whenever any byte of any dataset would change; a dataset of another version is refused.
GENERATOR_VERSION = 1
#: Version of the package that wrote each generator version, named when another one is needed.
PACKAGE_OF_GENERATOR = {1: "0.1"}

#: Rows of one chunk: the unit of determinism and of work. Every stream is keyed by the chunk.
CHUNK_ROWS = 1_000
#: Rows made and encoded at once, in scratch that fits a core's caches; divides a chunk.
BLOCK_ROWS = 100
#: Chunk numbers are one 32-bit word of a SeedSequence key. Those of rows lie below this one; from it on lie
#: the rows that queries are made of, so that no query is a row of a dataset.
QUERY_CHUNK = 2**31
#: Largest number of rows.
MAX_ROWS = QUERY_CHUNK * CHUNK_ROWS
#: Largest number of queries: each is made of several rows, of as many ranges of chunks (generate/queries.py).
MAX_QUERIES = 2**28 * CHUNK_ROWS
#: Digits of the row number in an id.
ROW_DIGITS = 13

#: What each law of geometry takes beside confidence and decimals; fields of :class:`DatasetSpec`.
LAW_PARAMETERS = {
    "isotropic": ("std_dev",),
    "mixture": ("tightness", "zipf", "near_duplicate_rate", "outlier_rate"),
}

#: Digits behind the point of a component that can be asked for.
FEWEST_DECIMALS, MOST_DECIMALS = 4, 7

#: What rows are for: to be stored, or to be asked.
Role = Literal["rows", "queries"]

#: Formats of a file, by name; a file's suffix is a point and the name (formats/outputs.py).
FORMATS = ("jsonl", "jsonl.zst", "parquet", "npy", "fbin")

DEFAULT_COUNT = 950_000
DEFAULT_QUERIES = 10_000
DEFAULT_SEED = 42
EMBEDDING_DIMENSION = 768
SYNTHETIC_PREFIX = "syn-"
QUERY_PREFIX = "qry-"


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
    embedding components (4 to 7; long vectors get fewer, see generate/grid.py); ``seed`` in [0, 2**63). The
    isotropic law has ``std_dev``, the standard deviation of the noise per component (0 < std_dev <= 100). The
    mixture law has, in its place,

    - ``tightness`` (0.01 to 100): rows stray this much less from their anchors; 1 as fitted;
    - ``zipf`` (0 to 8): clusters, by falling size, get weights times rank**-zipf; 0 as fitted;
    - ``near_duplicate_rate`` (0 to 1, or None as fitted): share of rows that have a near copy, at cosine 0.95
      or more, among the 1,000 rows of their chunk; the law's own near copies are held back;
    - ``outlier_rate`` (0 to 1): share of rows around the mean of all, in no cluster.

    A dataset of ``role`` "queries" holds what is asked of the dataset with the same parameters and the role
    "rows": held-out rows of its law, or with ``shift`` (0 to 1) such as lie so far from it
    (generate/shift.py). Both enter the fingerprint of queries alone.
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
    role: Role = "rows"
    shift: float = 0.0

    def __post_init__(self) -> None:
        self._check_role()
        check_integer("--count", self.count, 1, MAX_QUERIES if self.is_queries else MAX_ROWS)
        check_integer("--seed", self.seed, 0, 2**63 - 1)
        check_integer("--decimals", self.decimals, FEWEST_DECIMALS, MOST_DECIMALS)
        check_number("--std-dev", self.std_dev, 1e-6, 100.0)
        check_number("--confidence", self.confidence, 0.0, 1.0)
        check_number("--tightness", self.tightness, 0.01, 100.0)
        check_number("--zipf", self.zipf, 0.0, 8.0)
        if self.near_duplicate_rate is not None:
            check_number("--near-duplicate-rate", self.near_duplicate_rate, 0.0, 1.0)
        check_number("--outlier-rate", self.outlier_rate, 0.0, 1.0)
        self._check_law()

    def _check_role(self) -> None:
        if self.role not in get_args(Role):
            raise UsageError(f"no role is called {self.role!r}; there are: {', '.join(get_args(Role))}")
        check_number("--shift", self.shift, 0.0, 1.0)
        if self.shift and not self.is_queries:
            raise UsageError("--shift is a parameter of queries, not of the rows that they ask for")

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
        document: dict[str, Any] = {
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
        if self.is_queries:
            document["role"] = self.role
            document["parameters"]["shift"] = abs(float(self.shift))  # -0 is 0
        return document

    def _law_parameter(self, name: str) -> float | None:
        value = getattr(self, name)
        return None if value is None else float(value)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of :meth:`identity`."""
        return hashlib.sha256(canonical_json(self.identity()).encode()).hexdigest()

    @property
    def is_queries(self) -> bool:
        """Whether the rows are to be asked, never stored."""
        return self.role == "queries"

    @property
    def dataset_fingerprint(self) -> str:
        """Of queries, the fingerprint of the dataset that they are meant for; of rows, their own."""
        return replace(self, role="rows", shift=0.0).fingerprint

    @property
    def first_chunk(self) -> int:
        """Number of the chunk that row 0 is drawn in."""
        return QUERY_CHUNK if self.is_queries else 0

    @property
    def id_prefix(self) -> str:
        """First part of every id: ``syn-<first 8 hex of the fingerprint>-``, of queries ``qry-...-``."""
        return f"{QUERY_PREFIX if self.is_queries else SYNTHETIC_PREFIX}{self.fingerprint[:8]}-"

    def memory_id(self, row: int) -> str:
        """Return the id of ``row``."""
        return f"{self.id_prefix}{row:0{ROW_DIGITS}d}"

    def to_document(self) -> dict[str, Any]:
        """Return the spec as a JSON document; :meth:`from_document` reads it back."""
        document = self.identity()
        document["count"] = self.count
        document["model"]["source"] = self.model.source
        document["fingerprint"] = self.fingerprint
        if self.is_queries:
            document["dataset_fingerprint"] = self.dataset_fingerprint
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any], *, where: str = "spec") -> DatasetSpec:
        """Read what :meth:`to_document` wrote; raise InputError on any other version or shape."""
        _check_version(document, where)
        try:
            model = ModelRef(**{key: document["model"][key] for key in ("law", "digest", "dimension")})
            model = ModelRef(model.law, model.digest, model.dimension, document["model"].get("source", ""))
            role = document.get("role", "rows")
            spec = cls(model, document["count"], document["seed"], role=role, **document["parameters"])
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
    before, after = (_flatten({"role": spec.role, **spec.identity()}) for spec in (old, new))
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
    found = document.get("generator_version") if isinstance(document, Mapping) else None
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
