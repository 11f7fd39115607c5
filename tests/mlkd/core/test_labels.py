import re
from pathlib import Path

import pytest

from mlkd.core.labels import Labels
from tests.helpers import hostile


def test_order_survives_writing_and_reading(tmp_path: Path) -> None:
    labels = Labels(("zebra", "apple", "Straßenbahn"))
    labels.write(tmp_path / "labels.json")
    assert Labels.read(tmp_path / "labels.json") == labels
    assert [labels.index(name) for name in labels.names] == [0, 1, 2]
    assert len(labels) == 3


def test_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(ValueError, match="expected one of 2 known labels, got 'aple'; did you mean apple"):
        Labels(("zebra", "apple")).index("aple")


def test_unknown_name_is_not_guessed_where_none_is_similar() -> None:
    few, many = ("zebra", "apple"), ("bird", "sea animal", "bug", "cat", "horse", "tree")
    with pytest.raises(ValueError, match=r"one of 2 known labels, got 'dog'; they are zebra, apple$"):
        Labels(few).index("dog")
    with pytest.raises(
        ValueError, match=r"of 6 known labels, got 'dog'; the first 5 are bird, sea animal, bug, cat, horse$"
    ):
        Labels(many).index("dog")


def test_labels_in_an_error_cannot_control_a_terminal() -> None:
    for wanted, names in (("a\x1b[2K\n", ("a", "b")), ("dog", ("a\u202e", "b"))):
        with pytest.raises(ValueError, match=r"\\x1b|\\u202e") as raised:
            Labels(names).index(wanted)
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("names", [("a", "b", "a"), ("a", " "), ()])
def test_repeated_and_empty_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="labels: expected"):
        Labels(names)


@pytest.mark.parametrize("kind", hostile.REFUSED)
def test_names_that_some_result_cannot_hold_are_refused(kind: str) -> None:
    name, reason = hostile.REFUSED[kind]
    with pytest.raises(ValueError, match=re.escape(f"as text of one line, got {reason}")) as raised:
        Labels(("a", name))
    assert str(raised.value).isprintable()


def test_all_other_names_are_labels() -> None:
    names = tuple(hostile.NAMES.values())
    assert Labels(names).names == names
    with pytest.raises(ValueError, match="a space at an end in 'a '"):
        Labels(("a ",))


@pytest.mark.parametrize("text", ["", "5", "[5]", '{"a": 1}', "[" * 100_000])
def test_a_file_without_a_list_of_names_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ValueError, match=r"labels\.json: expected a JSON list of names, got"):
        Labels.read(tmp_path / "labels.json")


def test_many_names_are_compared() -> None:
    assert len(Labels(tuple(map(str, range(100_000))))) == 100_000
