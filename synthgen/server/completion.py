"""Pattern completion: the stored memory that agrees best with the known components of a vector.

Request, answer and the rule that 30% of the components must be known: Engram's wire, measured on
orchard9/engram of 2025-11-21.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from synthgen.server.answers import Refusal, refusal, time_of, wrong_shape
from synthgen.server.recall import Match
from synthgen.server.requests import parse_object
from synthgen.specs import EMBEDDING_DIMENSION

DEFAULT_THRESHOLD = 0.7
DEFAULT_HYPOTHESES = 3
MAX_HYPOTHESES = 100
MIN_KNOWN_SHARE = 0.3
#: Cosines that differ by no more are equal: they are sums of 768 products in float64.
ROUNDING = 1e-12

#: Fields of an episode that a cue may know, by its names for them, as Engram's; and as an answer has them.
_KNOWN_FIELDS = {
    "what": "what",
    "where": "where_location",
    "where_location": "where_location",
    "who": "who",
}
_MAX_FLOAT32 = float(np.finfo(np.float32).max)

Found = list[tuple[Match, tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Cue:
    """What is known: ``vector`` has shape (768,), NaN where a component is unknown.

    ``known_fields``: those of an episode, by the cue's names for them, with their values in an answer.
    """

    vector: NDArray[np.float64]
    known_fields: dict[str, Any]
    threshold: float
    n_hypotheses: int
    space: str | None


def parse_cue(body: bytes) -> Cue:
    """Return the cue in a body of POST /complete; 422 where it is misshapen or knows too little."""
    document = parse_object(body)
    if document.get("partial_episode") is None:
        raise wrong_shape("missing field `partial_episode`")
    partial = _object(document, "partial_episode")
    config = _object(document, "config")
    space = document.get("memory_space_id")
    if space is not None and type(space) is not str:
        raise wrong_shape("memory_space_id: expected a string")
    _fraction(partial, "cue_strength", DEFAULT_THRESHOLD)
    _natural(config, "max_iterations", 0)  # one comparison is enough here
    return Cue(
        _vector(partial.get("partial_embedding")),
        _known_fields(_object(partial, "known_fields")),
        _fraction(config, "ca1_threshold", DEFAULT_THRESHOLD),
        min(_natural(config, "num_hypotheses", DEFAULT_HYPOTHESES), MAX_HYPOTHESES),
        space,
    )


def _object(document: dict[str, Any], field: str) -> dict[str, Any]:
    value = document.get(field)
    if value is None:
        return {}
    if type(value) is not dict:
        raise wrong_shape(f"{field}: expected an object")
    return value


def _known_fields(fields: dict[str, Any]) -> dict[str, Any]:
    known = {}
    for name in _KNOWN_FIELDS:
        value = fields.get(name)
        if value is None:
            continue
        if name == "who":
            value = _names(value)
            if value is None:
                raise wrong_shape("known_fields.who: expected a string, or a sequence of strings")
        elif type(value) is not str:
            raise wrong_shape(f"known_fields.{name}: expected a string")
        known[name] = value
    return known


def _names(value: Any) -> list[str] | None:
    """Return who took part, None where ``value`` does not say it."""
    names = [value] if type(value) is str else value
    return names if type(names) is list and all(type(name) is str for name in names) else None


def _natural(document: dict[str, Any], field: str, default: int) -> int:
    value = document.get(field)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise wrong_shape(f"{field}: expected a whole number of at least 0")
    return value


def _fraction(document: dict[str, Any], field: str, default: float) -> float:
    value = document.get(field)
    if value is None:
        return default
    if type(value) not in (int, float):
        raise wrong_shape(f"{field}: expected a number")
    if not 0 <= value <= 1:
        raise _invalid(f"{field} must be between 0.0 and 1.0, got {value}")
    return float(value)


def _vector(values: Any) -> NDArray[np.float64]:
    values = [] if values is None else values
    if type(values) is not list or any(type(value) not in (int, float, type(None)) for value in values):
        raise wrong_shape("partial_embedding: expected a sequence of numbers and nulls")
    n_known = sum(value is not None for value in values)
    if values and len(values) != EMBEDDING_DIMENSION:
        raise _invalid(
            f"Partial embedding must have exactly {EMBEDDING_DIMENSION} dimensions, got {len(values)}"
        )
    if n_known < MIN_KNOWN_SHARE * EMBEDDING_DIMENSION:
        raise _invalid(
            f"Pattern completion requires minimum 30% cue overlap. Current overlap: "
            f"{n_known / EMBEDDING_DIMENSION:.1%} ({n_known} of {EMBEDDING_DIMENSION} dimensions known)."
        )
    vector = np.array([math.nan if value is None else value for value in values], np.float64)
    known = vector[~np.isnan(vector)]
    if np.abs(known).max() > _MAX_FLOAT32 or not known.any():
        raise _invalid("Partial embedding must be finite and not all zero")
    return vector


def _invalid(message: str) -> Refusal:
    return refusal(422, "MEMORY_VALIDATION_ERROR", message)


def too_weak(confidence: float) -> Refusal:
    """Return the 422 for a cue that no memory agrees with well enough."""
    return _invalid(
        f"Completion confidence {confidence:.2f} below CA1 threshold. "
        "Provide more cue information or lower ca1_threshold."
    )


def preferred(cue: Cue, found: Found) -> Found:
    """Return ``found``, best first; of the best that are equal the first with the known content leads."""
    for place, (match, row) in enumerate(found):
        if found[0][0].cosine - match.cosine > ROUNDING:
            break
        if row[2] == cue.known_fields.get("what"):
            return [found[place], *found[:place], *found[place + 1 :]]
    return found


def completed(cue: Cue, found: Found) -> dict[str, Any]:
    """Return the answer for a cue and the memories that agree best with it, best first.

    What the cue knows is taken from it, as Engram does, and the rest from the best memory.
    """
    (best, row), *others = found
    margin = best.cosine - others[0][0].cosine if others else best.cosine
    known = {_KNOWN_FIELDS[name]: value for name, value in cue.known_fields.items()}
    episode = _episode(row) | known
    sources = {name: {"source": "recalled", "confidence": 1.0} for name in cue.known_fields}
    for name in _KNOWN_FIELDS.values():
        if name not in known and episode[name] is not None:
            sources[name] = {"source": "reconstructed", "confidence": _level(best)}
    return {
        "completed_episode": episode,
        "completion_confidence": _confidence(_level(best), "Cosine over the known components"),
        "source_attribution": sources,
        "alternative_hypotheses": [
            {"episode": _episode(row), "confidence": _level(match)} for match, row in others
        ],
        "metacognitive_confidence": _confidence(
            min(1.0, max(0.0, margin)), "Distance between the best match and the next"
        ),
        "reconstruction_stats": {
            "ca3_iterations": 0,
            "convergence_achieved": True,
            "pattern_sources": [row[1] for _, row in found],
            "plausibility_score": _level(best),
        },
    }


def _level(match: Match) -> float:
    return min(1.0, max(0.0, match.cosine))


def _episode(row: tuple[Any, ...]) -> dict[str, Any]:
    details = orjson.loads(row[6]) if row[6] else {}
    place = details.get("where_location")
    return {
        "id": row[1],
        "when": time_of(row[4]),
        "what": row[2],
        "where_location": place if type(place) is str else None,
        "who": _names(details.get("who")),
        "encoding_confidence": row[3],
    }


def _confidence(value: float, reasoning: str) -> dict[str, Any]:
    bounds = (("Certain", 0.9), ("High", 0.7), ("Medium", 0.4), ("Low", 0.1))
    category = next((name for name, bound in bounds if value > bound), "None")
    return {"value": value, "category": category, "reasoning": reasoning}
