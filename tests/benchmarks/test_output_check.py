"""What a device prints is used only where its types and ranges are those that it must have."""

import json
from typing import Any

import pytest

from benchmarks.output_check import EngineInfo, Info, read_info, read_score_result

INFO = {"engines": [{"name": "a", "lacks": None}], "machine": {"cpu": "some", "cores": 2, "flags": ["avx2"]}}


def test_engines_and_machine_are_read() -> None:
    more = {"engines": [*INFO["engines"], {"name": "b", "lacks": "no\x1b GPU", "other": []}], "labels": ["x"]}
    assert read_info(INFO | more) == Info([EngineInfo("a", None), EngineInfo("b", "no  GPU")], INFO["machine"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"engines": [{"name": "a"}]}, r"engines: \[0\]: lacks: expected a value"),
        ({"engines": [{"name": "a", "lacks": ["none"]}]}, r"engines: \[0\]: lacks: expected text"),
        ({"machine": None}, "machine: expected an object"),
        ({"machine": {"cpu": [["a"]]}}, "machine: expected facts"),
        ({"machine": {"cpu": "a" * 30_000}}, "machine: expected at most 20000 characters"),
    ],
)
def test_other_facts_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_info(INFO | changes)


@pytest.mark.parametrize("number", [str(10**400), "1e999", "-1", "true"])
def test_a_number_that_is_none_is_refused(number: str) -> None:
    printed = json.loads(
        f'{{"ran": {{"provider": "p", "device": "d", "compute": "c", "version": "v", "placed": {number}}}}}'
    )
    with pytest.raises(ValueError, match="placed: expected a number"):
        read_score_result(printed)


def test_a_reason_is_text_of_reasonable_length() -> None:
    assert read_score_result({"error": "a\n" * 10_000}).error == "a " * 500
    with pytest.raises(ValueError, match="error: expected text"):
        read_score_result({"error": ["a"]})
