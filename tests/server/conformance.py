"""Answers held against the server's own OpenAPI document, strictly: what it does not name is a finding."""

from __future__ import annotations

import copy
import json
from typing import Any

import jsonschema_rs


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object of named properties closed to others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: closed(part) for name, part in schema.items()}
    if isinstance(parts.get("properties"), dict) and "additionalProperties" not in parts:
        parts["additionalProperties"] = False
    return parts


class Conformance:
    """What a document allows, prepared for many answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._paths = copy.deepcopy(document["paths"])
        self._components = closed(document["components"])
        self._validators: dict[str, Any] = {}

    def findings(self, path: str, method: str, status: int, content_type: str, body: bytes) -> list[str]:
        """Return what is wrong with an answer to ``method`` at ``path`` of the document; empty if nothing."""
        answers = self._paths[path][method.lower()]["responses"]
        if str(status) not in answers:
            return [f"status {status} is none of {', '.join(answers)}"]
        answer = answers[str(status)]
        if "$ref" in answer:
            answer = self._components["responses"][answer["$ref"].rpartition("/")[2]]
        contents = answer.get("content", {})
        kind = content_type.partition(";")[0].strip()
        if not contents:
            return [f"a body of {len(body)} bytes where none is described"] if body else []
        if kind not in contents:
            return [f"content type {kind!r} with status {status} is none of {', '.join(contents)}"]
        if kind != "application/json":
            return []
        return self._misfits(contents[kind]["schema"], body)

    def _misfits(self, schema: dict[str, Any], body: bytes) -> list[str]:
        try:
            value = json.loads(body)
        except ValueError as error:
            return [f"not JSON: {error}"]
        key = json.dumps(schema)
        if key not in self._validators:
            whole = {**closed(schema), "components": self._components}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        return [
            f"{'/'.join(map(str, error.instance_path))}: {error.message[:200]}"
            for error in self._validators[key].iter_errors(value)
        ]
