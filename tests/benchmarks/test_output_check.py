"""What a device prints is taken only as far as it has the type and range that it must."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import output_check

INFO = {"engines": [{"name": "a", "lacks": None}], "machine": {"cpu": "some", "cores": 2, "flags": ["avx2"]}}


def test_engines_and_machine_are_read() -> None:
    more = {"engines": [*INFO["engines"], {"name": "b", "lacks": "no\x1b GPU", "other": []}], "labels": ["x"]}
    assert output_check.info(INFO | more) == ({"a": None, "b": "no  GPU"}, INFO["machine"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engines": [{"name": "a"}]}, "engines: lacks: expected it there"),
        ({"engines": [{"name": "a", "lacks": ["none"]}]}, "engines: lacks: expected text"),
        ({"machine": None}, "machine: expected an object"),
        ({"machine": {"cpu": [["a"]]}}, "machine: expected facts"),
        ({"machine": {"cpu": "a" * 30_000}}, "machine: expected at most 20000 characters"),
    ],
)
def test_other_facts_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        output_check.info(INFO | changes)


@pytest.mark.parametrize("number", [str(10**400), "1e999", "-1", "true"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    told = json.loads(
        f'{{"ran": {{"provider": "p", "device": "d", "compute": "c", "version": "v", "placed": {number}}}}}'
    )
    with pytest.raises(ValueError, match="placed: expected a number of 0 to 1"):
        output_check.scores(told | {"sha256": None, "error": None})


def test_a_reason_is_text_of_reasonable_length() -> None:
    told = {"ran": None, "sha256": None}
    assert output_check.scores({**told, "error": "a\n" * 10_000})["error"] == "a " * 500
    with pytest.raises(ValueError, match="error: expected text"):
        output_check.scores({**told, "error": ["a"]})
