"""The JSON schema of report.json, generated from the classes of benchmarks/schema.py."""

from __future__ import annotations

import functools
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from benchmarks.schema import Report


class _ReportSchema(GenerateJsonSchema):
    """Every key is written, and no other."""

    def field_is_required(self, *_: Any, **__: Any) -> bool:
        return True

    def field_title_should_be_set(self, *_: Any) -> bool:
        return False

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"])

    def dataclass_schema(self, schema: Any) -> dict[str, Any]:
        return super().dataclass_schema(schema) | {"additionalProperties": False}


@functools.cache
def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a report."""
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": "report.schema.json",
        **TypeAdapter(Report).json_schema(schema_generator=_ReportSchema, mode="serialization"),
    }
