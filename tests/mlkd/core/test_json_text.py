"""JSON of others."""

import pytest

from mlkd.core.json_text import parse_json


def test_it_is_read_as_the_standard_library_does() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_many_levels_are_an_error_of_the_value(text: str) -> None:
    with pytest.raises(ValueError, match="too many levels"):
        parse_json(text)
