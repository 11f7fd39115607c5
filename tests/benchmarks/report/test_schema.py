"""report.json against its published schema."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from benchmarks.report import render
from benchmarks.rows import ROW

KEYS = ("devices", "agreement", "rows", "images", "grid", "mistakes", "verdict", "notes", "labels", "distillation")


def published(bench: dict[str, Any], out: Path) -> tuple[dict[str, Any], jsonschema.Draft202012Validator]:
    """The report, and a validator of the schema that is written beside it."""
    render(bench, out)
    return read(out)


def read(out: Path) -> tuple[dict[str, Any], jsonschema.Draft202012Validator]:
    schema, facts = (
        json.loads((out / name).read_text(encoding="utf-8")) for name in ("report.schema.json", "report.json")
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    return facts, jsonschema.Draft202012Validator(schema)


def test_a_full_report_is_valid(rendered: Path) -> None:
    facts, validator = read(rendered)
    assert [error.message for error in validator.iter_errors(facts)] == []


def test_a_minimal_report_is_valid(bench: dict[str, Any], tmp_path: Path) -> None:
    known = ("name", "device", "kind", "model")
    row = dict.fromkeys(bench["rows"][0]) | {key: bench["rows"][0][key] for key in known} | {"status": "failed"}
    device = {"name": "here", "status": "measured", "reason": None, "machine": None, "threads": None}
    least = dict.fromkeys(bench) | {"schema": 2, "recipe": "scenes", "labels": [], "rows": [row]}
    facts, validator = published({**least, "devices": [{**device, "power_mode": None}]}, tmp_path)
    assert [error.message for error in validator.iter_errors(facts)] == []


def test_every_key_of_a_row_is_published(rendered: Path) -> None:
    _, validator = read(rendered)
    row = validator.schema["$defs"]["row"]
    assert set(row["properties"]) == set(row["required"]) == set(ROW)


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
def test_a_missing_key_or_a_wrong_value_is_refused(rendered: Path, path: tuple[Any, ...], value: Any) -> None:
    """None: the key is taken away."""
    facts, validator = read(rendered)
    broken = inner = copy.deepcopy(facts)
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    errors = list(validator.iter_errors(broken))
    assert len(errors) == 1
    assert str(path[-1]) in f"{errors[0].message} {errors[0].json_path}"
