"""report.json against its published schema."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.report import render
from benchmarks.report.json_schema import json_schema
from benchmarks.schema import Row, read_report

KEYS = ("devices", "agreement", "rows", "images", "grid", "mistakes", "verdict", "notes", "labels", "distillation")


Published = tuple[dict[str, Any], jsonschema.Draft202012Validator]


def read(out: Path) -> Published:
    """The report, and a validator of the schema that is written beside it."""
    schema, facts = (
        json.loads((out / name).read_text(encoding="utf-8")) for name in ("report.schema.json", "report.json")
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    return facts, jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def example(rendered: Path) -> Published:
    return read(rendered)


def test_a_full_report_is_valid(example: Published) -> None:
    facts, validator = example
    assert [error.message for error in validator.iter_errors(facts)] == []


def test_a_minimal_report_is_valid(tmp_path: Path) -> None:
    row = {"name": "a", "device": "here", "kind": "engine", "status": "failed"}
    render(read_report({"schema": 3, "rows": [row], "devices": [{"name": "here"}]}), tmp_path)
    facts, validator = read(tmp_path)
    assert [error.message for error in validator.iter_errors(facts)] == []


def test_the_schema_is_generated_from_the_classes(example: Published) -> None:
    _, validator = example
    assert validator.schema == json_schema()
    row = validator.schema["$defs"]["Row"]
    assert set(row["properties"]) == set(row["required"]) == {field.name for field in dataclasses.fields(Row)}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(((key,), None) for key in KEYS),
        *((("rows", 0, key), None) for key in ("device", "map_from", "sustained", "delta_low")),
        (("rows", 0, "end_to_end_ms", "p90_bound"), None),
        (("devices", 0, "power_mode"), None),
        (("schema",), 1),
        (("rows", 0, "kind"), "winner"),
        (("rows", 0, "map"), 55.3),
        (("rows", 0, "bytes"), "4 MB"),
        (("grid", 0, "true"), "cat"),
    ],
)
def test_a_missing_key_or_a_wrong_value_is_refused(example: Published, path: tuple[Any, ...], value: Any) -> None:
    """None: the key is taken away."""
    facts, validator = example
    broken = inner = copy.deepcopy(facts)
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    (error,) = validator.iter_errors(broken)
    messages = [error.json_path, error.message, *(inner.message for inner in error.context)]
    assert str(path[-1]) in " ".join(messages)
