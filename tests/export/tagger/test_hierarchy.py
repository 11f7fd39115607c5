from pathlib import Path

import pytest

from export.tagger.hierarchy import read_hierarchy

NAMES = ("cat", "dog", "bus/coach", "car", "tree")


def test_a_line_has_the_levels_above_its_label(tmp_path: Path) -> None:
    file = tmp_path / "levels.txt"
    file.write_text("\ufeff# living things\n\nanimal/pet/cat\r\n animal / dog \nvehicle/bus/coach\ncar\n", "utf-8")
    assert read_hierarchy(file, NAMES) == {
        "cat": ("animal", "pet", "cat"),
        "dog": ("animal", "dog"),
        "bus/coach": ("vehicle", "bus/coach"),
        "car": ("car",),
        "tree": ("tree",),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("#\nanimal/cta", r"levels.txt, line 2: label: expected one of 5 known labels, got 'cta'; did you mean cat, "),
        ("animal/cat\npet/cat", r"line 2: label: expected each once, got 'cat' again"),
        ("animal//cat", r"line 1: levels: expected none empty, got 'animal//cat'"),
        ("cat/", r"line 1: levels: expected none empty"),
        (b"\xff\xfeanimal", r"levels.txt: expected text in UTF-8, got other bytes"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = tmp_path / "levels.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ValueError, match=message):
        read_hierarchy(file, NAMES)
