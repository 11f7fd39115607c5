"""Lists in a JSON object, item by item; the standard library's reader of whole files is the oracle."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlkd.data.sources import json_stream
from mlkd.data.sources.json_stream import list_items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be")


def items(file: Path) -> list[tuple[str, int | None, Any]]:
    return list(list_items(file, ("a", "b")))


@settings(max_examples=60, deadline=None)
@given(
    tree=st.dictionaries(st.sampled_from("abc"), VALUES),
    indent=st.sampled_from([None, 0, 2]),
    encoding=st.sampled_from(ENCODINGS),
    block=st.integers(1, 9),
)
def test_items_are_those_of_the_whole_document(
    tree: dict[str, Any], indent: int | None, encoding: str, block: int
) -> None:
    expected: list[tuple[str, int | None, Any]] = []
    for key in (key for key in tree if key != "c"):
        value = tree[key]
        is_list = isinstance(value, list)
        expected.append((key, None, [] if is_list else value))
        expected += [(key, position, item) for position, item in enumerate(value)] if is_list else []
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        file = Path(name) / "a.json"
        file.write_bytes(f" {json.dumps(tree, indent=indent)}\n".encode(encoding))
        assert items(file) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value at character 0"),
        ("{", "Expecting value at character 1"),
        ('{"a": [1', "'the end' instead of ',' at character 8"),
        ('{"a": [1 2]}', "'2' instead of ',' at character 9"),
        ('{"a": [1,]}', "Expecting value at character 9"),
        ('{"a" 1}', "'1' instead of ':' at character 5"),
        ('{"a": 1} x', "other text behind it at character 9"),
        ('{"a": 1, "a": []}', "the key 'a' twice"),
        ('{"a": ["x', "Unterminated string starting at at character 7"),
    ],
)
def test_the_place_of_a_mistake_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        items(tmp_path / "a.json")


def test_an_item_without_an_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", 10)
    monkeypatch.setattr(json_stream, "LONGEST", 100)
    (tmp_path / "a.json").write_text('{"a": ["' + "x" * 1000)
    with pytest.raises(ValueError, match="more than 100 characters without an end at character 7"):
        items(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[1]", "5", "null"])
def test_other_values_have_no_items(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert not items(tmp_path / "a.json")
