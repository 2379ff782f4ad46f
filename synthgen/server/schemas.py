"""Schemas of requests and answers (JSON Schema 2020-12), as the OpenAPI document names them.

Objects are open, as Engram's are: what is not named is passed over in a request, and may be added to
an answer by a later version. ``tests/server/test_openapi.py`` closes those of answers and holds the
running server against them, so that no field is answered that is not here.
"""

from __future__ import annotations

from typing import Any

from synthgen.server.requests import (
    DEFAULT_CONFIDENCE,
    DEFAULT_IMPORTANCE,
    MAX_CONTENT_BYTES,
    MAX_ID_BYTES,
    SPACE_NAME,
)
from synthgen.specs import EMBEDDING_DIMENSION

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
NATURAL: Schema = {"type": "integer", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
FRACTION: Schema = {"type": "number", "minimum": 0, "maximum": 1}
SPACE: Schema = {"type": "string", "pattern": f"^{SPACE_NAME}$", "examples": ["default"]}

_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_CONTENT_BYTES, "pattern": r"\S"}
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES}


def ref(name: str) -> Schema:
    """Return a reference to the schema called ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema, **more: Any) -> Schema:
    """Return the schema of an array of ``items``."""
    return {"type": "array", "items": items, **more}


def _or_null(schema: Schema, **more: Any) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}], **more}
    return schema | {"type": [schema["type"], "null"]} | more


def _object(fields: dict[str, Schema], *, optional: tuple[str, ...] = (), **more: Any) -> Schema:
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required, **more}


def _request(required: dict[str, Schema], optional: dict[str, Schema]) -> Schema:
    """Return the schema of a body; an optional field may be null, which is as if it were not there."""
    fields = required | {name: _or_null(schema) for name, schema in optional.items()}
    return {"type": "object", "properties": fields, "required": list(required)}


def _requests() -> dict[str, Schema]:
    common = {"id": _ID, "embedding": ref("Embedding"), "memory_space_id": SPACE}
    remember = common | {
        "confidence": FRACTION | {"default": DEFAULT_CONFIDENCE},
        "confidence_reasoning": STRING,
        "tags": array(STRING),
        "memory_type": STRING,
        "timestamp": TIME,
        "auto_link": BOOLEAN,
        "link_threshold": NUMBER,
    }
    who = {"anyOf": [STRING, array(STRING), {"type": "null"}]}
    known = _request({}, {"what": STRING, "where": STRING, "where_location": STRING})
    known["properties"]["who"] = who
    known["description"] = (
        "What of these is known is answered as it is (source `recalled`), the rest from the memory "
        "(`reconstructed`); other fields are passed over. Of memories that agree equally well with the "
        "vector the one with the content `what` is taken."
    )
    partial = {
        "partial_embedding": ref("PartialEmbedding"),
        "known_fields": known,
        "cue_strength": FRACTION,
    }
    config = {"ca1_threshold": FRACTION, "num_hypotheses": NATURAL, "max_iterations": NATURAL}
    return {
        "Embedding": array(
            NUMBER,
            minItems=EMBEDDING_DIMENSION,
            maxItems=EMBEDDING_DIMENSION,
            description="Rounded to float32; must be finite there, and not all zero.",
        ),
        "PartialEmbedding": array(
            {"type": ["number", "null"]},
            minItems=EMBEDDING_DIMENSION,
            maxItems=EMBEDDING_DIMENSION,
            description="null where a component is unknown; at least 30% must be known.",
        ),
        "RememberRequest": _request({"content": _TEXT}, remember),
        "EpisodeRequest": _request(
            {"when": TIME, "what": _TEXT},
            common | {"importance": FRACTION | {"default": DEFAULT_IMPORTANCE}},
        ),
        "CompleteRequest": _request(
            {"partial_episode": ref("PartialEpisode")},
            {"config": _request({}, config), "memory_space_id": SPACE},
        ),
        "PartialEpisode": _request({}, partial),
        "SpaceRequest": _request({"id": SPACE}, {}),
    }


def _stored() -> dict[str, Schema]:
    shown = {"id": STRING, "content": STRING, "confidence": FRACTION, "timestamp": TIME}
    detailed = shown | {"memory_type": STRING}
    tiers = ("hot", "warm", "cold", "total")
    return {
        "Remembered": _object(
            {
                "memory_id": STRING,
                "storage_confidence": ref("Confidence"),
                "consolidation_state": STRING,
                "observed_at": TIME,
                "stored_at": TIME,
                "links": {"type": "object", "additionalProperties": STRING},
                "auto_links": array(STRING),
                "system_message": STRING,
            }
        ),
        "ListedMemory": _object(
            shown | {"embedding": ref("Embedding")},
            optional=("embedding",),
            description="`embedding` is there where it was asked for and one is stored.",
        ),
        "MemoryPage": _object(
            {
                "memories": array(ref("ListedMemory")),
                "count": NATURAL,
                "pagination": _object({"offset": NATURAL, "limit": NATURAL, "returned": NATURAL}),
                "tier_counts": _object(dict.fromkeys(tiers, NATURAL)),
            }
        ),
        "Memory": _object(detailed),
        "SearchResult": _object({"memories": array(ref("Memory")), "total": NATURAL}),
        "Space": _object({"id": SPACE, "persistence_root": STRING, "created_at": TIME}),
        "Spaces": _object({"spaces": array(ref("Space"))}),
    }


def _sought() -> dict[str, Schema]:
    level = {"type": "number", "minimum": -1.0000001, "maximum": 1.0000001}
    item = {
        "id": STRING,
        "content": STRING,
        "confidence": ref("Confidence"),
        "activation_level": FRACTION,
        "similarity_score": level,
        "retrieval_path": STRING,
        "observed_at": TIME,
        "last_access": _or_null(TIME),
        "tags": array(STRING),
        "memory_type": STRING,
        "relevance_explanation": STRING,
    }
    metadata = {
        "total_memories_searched": NATURAL,
        "activation_spread_hops": NATURAL,
        "processing_time_ms": NATURAL,
        "memory_system_load": STRING,
    }
    analysis = {"understood_intent": STRING, "search_strategy": STRING, "cognitive_load": STRING}
    return {
        "Confidence": _object({"value": FRACTION, "category": STRING, "reasoning": STRING}),
        "RecalledMemory": _object(item),
        "RecallResult": _object(
            {
                "memories": _object(
                    {kind: array(ref("RecalledMemory")) for kind in ("vivid", "associated", "reconstructed")}
                ),
                "recall_confidence": ref("Confidence"),
                "query_analysis": _object(analysis | {"suggestions": array(STRING)}),
                "metadata": _or_null(_object(metadata)),
                "system_message": STRING,
            }
        ),
    }


def _completed() -> dict[str, Schema]:
    source = _object({"source": STRING, "confidence": FRACTION})
    stats = {
        "ca3_iterations": NATURAL,
        "convergence_achieved": BOOLEAN,
        "pattern_sources": array(STRING),
        "plausibility_score": FRACTION,
    }
    return {
        "Episode": _object(
            {
                "id": STRING,
                "when": TIME,
                "what": STRING,
                "where_location": _or_null(STRING),
                "who": {"type": ["array", "null"], "items": STRING},
                "encoding_confidence": FRACTION,
            }
        ),
        "Completion": _object(
            {
                "completed_episode": ref("Episode"),
                "completion_confidence": ref("Confidence"),
                "source_attribution": {"type": "object", "additionalProperties": source},
                "alternative_hypotheses": array(_object({"episode": ref("Episode"), "confidence": FRACTION})),
                "metacognitive_confidence": ref("Confidence"),
                "reconstruction_stats": _object(stats),
            }
        ),
    }


def _status() -> dict[str, Schema]:
    status = {"type": "string", "enum": ["healthy", "degraded", "unhealthy"]}
    space = {"space": SPACE, "memories": NATURAL}
    space |= dict.fromkeys(("pressure", "wal_lag_ms", "consolidation_rate"), NUMBER)
    counts = ("memories", "memories_stored_total", "memories_failed_total", "commits_total")
    snapshot = {"uptime_seconds": NUMBER} | dict.fromkeys(counts, NATURAL)
    snapshot |= dict.fromkeys(
        ("largest_commit_memories", "text_index_lag_memories", "index_lag_memories", "disk_bytes"), NATURAL
    )
    snapshot["memories_by_space"] = {"type": "object", "additionalProperties": NATURAL}
    check = {"name": STRING, "type": STRING, "status": status, "message": STRING}
    return {
        "Health": _object(
            {
                "status": status,
                "service": {"const": "engram"},
                "version": STRING,
                "timestamp": TIME,
                "server": STRING,
                "database_id": STRING,
                "quirks": array(STRING),
                "index_lag": NATURAL,
                "text_index_lag": NATURAL,
            }
        ),
        "SystemHealth": _object(
            {
                "status": status,
                "timestamp": TIME,
                "checks": array(_object(check)),
                "spaces": array(_object(space)),
                "cluster": {"type": "null"},
            }
        ),
        "Metrics": _object({"snapshot": _object(snapshot), "export": {"type": "object"}}),
    }


def _errors() -> dict[str, Schema]:
    error = dict.fromkeys(("code", "message", "educational_context", "cognitive_guidance"), STRING)
    links = dict.fromkeys(("api_guide", "memory_concepts", "examples"), STRING)
    return {"Error": _object({"error": _object(error), "documentation": _object(links)})}


def schemas() -> dict[str, Schema]:
    """Return all schemas by name."""
    groups = (_requests(), _stored(), _sought(), _completed(), _status(), _errors())
    return {name: schema for group in groups for name, schema in group.items()}
