"""stage.json of a finished stage: read as it was written, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner import result

WRITTEN: dict[str, Any] = {
    "identity": {"stage": "data"},
    "content": "a",
    "seconds": 1.5,
    "files": {"data.npy": {"sha256": "ab", "bytes": 4}},
}


def read(folder: Path, text: str) -> result.Result | None:
    (folder / result.FINISHED).write_text(text)
    return result.read(folder)


def test_a_written_result_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(WRITTEN))
    assert found is not None
    assert (found.seconds, found.bytes, found.made_with) == (1.5, 4, {})


@pytest.mark.parametrize(
    "change",
    [
        {"files": "abc"}, {"files": {"data.npy": 5}}, {"files": {"data.npy": {"sha256": "ab"}}},
        {"files": {"data.npy": {"bytes": 4}}}, {"files": {"data.npy": {"sha256": "ab", "bytes": "4"}}},
        {"identity": None}, {"content": 5}, {"seconds": "1"}, {"made_with": []},
    ],
)  # fmt: skip
def test_values_of_other_types_are_no_result(change: dict[str, Any], tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(WRITTEN | change)) is None


@pytest.mark.parametrize("text", ["", "[]", "5", "[" * 100_000, "{}"])
def test_another_document_is_no_result(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, text) is None


def test_an_error_of_a_json_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"a\.json: expected JSON, got lists or objects in too many levels; remove it"):
        result.read_json(tmp_path / "a.json")
