from pathlib import Path

import pytest

from mlkd.core.labels import Labels


def test_order_survives_writing_and_reading(tmp_path: Path) -> None:
    labels = Labels(("zebra", "apple", "Straßenbahn"))
    labels.write(tmp_path / "labels.json")
    assert Labels.read(tmp_path / "labels.json") == labels
    assert [labels.index(name) for name in labels.names] == [0, 1, 2]
    assert len(labels) == 3


def test_unknown_name_suggests_close_ones() -> None:
    with pytest.raises(ValueError, match="expected one of 2 known labels, got 'aple'; did you mean apple"):
        Labels(("zebra", "apple")).index("aple")


@pytest.mark.parametrize("names", [("a", "b", "a"), ("a", " "), ()])
def test_repeated_and_empty_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="labels: expected"):
        Labels(names)
