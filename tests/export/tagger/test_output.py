import csv
import io
import json
import os
import re

import pytest

from export.tagger.output import CSV_HEADER, CSV_PATHS, NOT_UTF8, Bar, Unwritten, as_csv, as_json, as_text, one_line
from export.tagger.sidecars import SidecarError
from export.tagger.tagger import Tag
from mlkd.core.images import UnreadableImageError
from mlkd.core.printable import is_utf8

ODD = [
    "two\nlines.jpg",
    "a,b.jpg",
    'quo"te.jpg',
    "cr\r.jpg",
    "esc\x1b[2J.jpg",
    "umläut 日本.jpg",
    os.fsdecode(b"\xff\xfe.jpg"),
]
TAGS = [Tag("dog, big", 0.98765432), Tag("Straße", 0.5)]
BROKEN = UnreadableImageError("expected a whole image,\ngot a cut one")


@pytest.mark.parametrize("name", ODD)
def test_a_name_never_breaks_its_line(name: str) -> None:
    text = as_text(name, TAGS)
    assert text is not None
    assert text.isprintable()
    assert text.endswith(": dog, big 0.99, Straße 0.50")
    line = as_json(name, TAGS)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["image"] == name
    [row] = csv.reader(io.StringIO(as_csv(name, TAGS), newline=""))
    assert row == [name, "dog, big;Straße", "0.987654;0.500000", "" if is_utf8(name) else NOT_UTF8, "", ""]


def test_undecodable_names_come_back_from_json() -> None:
    assert os.fsencode(json.loads(as_json(os.fsdecode(b"\xff.jpg"), []))["image"]) == b"\xff.jpg"


def test_a_failed_image_is_a_row_and_an_object_and_no_text() -> None:
    assert as_text("x.jpg", BROKEN) is None
    assert json.loads(as_json("x.jpg", BROKEN)) == {
        "image": "x.jpg",
        "error": "expected a whole image, got a cut one",
    }
    rows = list(csv.DictReader(io.StringIO(f"{CSV_HEADER}\n{as_csv('x.jpg', BROKEN)}")))
    cut = "expected a whole image, got a cut one"
    assert rows == [{"image": "x.jpg", "tags": "", "scores": "", "error": cut, "doubtful": "", "verdict": ""}]
    (row,) = csv.DictReader(io.StringIO(f"{CSV_HEADER}\n{as_csv('x.jpg', [Tag('a', 0.9), Tag('b', 0.5)], {'b'})}"))
    assert (row["tags"], row["doubtful"]) == ("a;b", "b")


def test_tags_that_could_not_be_written_are_shown_with_the_error() -> None:
    result = Unwritten(TAGS, SidecarError("x.xmp: expected\nXMP"))
    assert as_text("x.jpg", result) == as_text("x.jpg", TAGS)
    both = json.loads(as_json("x.jpg", result))
    assert both == {**json.loads(as_json("x.jpg", TAGS)), "error": "x.xmp: expected XMP"}
    (row,) = csv.DictReader(io.StringIO(f"{CSV_HEADER}\n{as_csv('x.jpg', result)}"))
    assert (row["tags"], row["error"]) == ("dog, big;Straße", "x.xmp: expected XMP")


def test_a_hierarchy_adds_the_levels_above_a_label() -> None:
    hierarchy = {"dog, big": ("animal", "pet", "dog, big"), "Straße": ("Straße",)}
    assert as_text("x.jpg", TAGS, {"Straße"}, hierarchy) == "x.jpg: animal/pet/dog, big 0.99, Straße 0.50?"
    tags = json.loads(as_json("x.jpg", TAGS, (), hierarchy))["tags"]
    assert [(tag["label"], tag["path"]) for tag in tags] == [(name, list(path)) for name, path in hierarchy.items()]
    (row,) = csv.DictReader(io.StringIO(f"{CSV_HEADER}{CSV_PATHS}\n{as_csv('x.jpg', TAGS, (), hierarchy)}"))
    assert (row["tags"], row["paths"]) == ("dog, big;Straße", "animal/pet/dog, big;Straße")
    assert as_csv("x.jpg", BROKEN, (), hierarchy).endswith(",")


def test_nothing_found_is_said() -> None:
    assert as_text("x.jpg", []) == "x.jpg: nothing above its threshold"
    assert json.loads(as_json("x.jpg", [])) == {"image": "x.jpg", "tags": []}
    assert as_csv("x.jpg", []) == "x.jpg,,,,,"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_csv_is_a_formula(start: str) -> None:
    name, label = f"{start}1+1|' /C calc'!A0.jpg", f"{start}SUM(A1)"
    (row,) = csv.reader([as_csv(name, [Tag("dog", 0.9), Tag(label, 0.5)])])
    assert row[:2] == [f"'{name}", f"dog;'{label}"]
    (row,) = csv.reader([as_csv("-", UnreadableImageError("expected one"))])
    assert row[0] == "-"  # standard input: a sign alone computes nothing


def test_json_scores_have_six_digits() -> None:
    tags = [{"label": "dog, big", "score": 0.987654}, {"label": "Straße", "score": 0.5}]
    assert json.loads(as_json("x", TAGS))["tags"] == tags


def test_an_error_is_one_line_without_commands_to_the_terminal() -> None:
    assert one_line(ValueError("a\n  b\x1b[2J")) == "a b\\x1b[2J"
    assert one_line(KeyError()) == "KeyError"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def shown(terminal: Terminal) -> str:
    """What is to be read in the last line: a carriage return goes back to its begin."""
    line = ""
    for part in terminal.getvalue().split("\r"):
        line = part + line[len(part) :]
    return line.rstrip()


def test_the_bar_counts_times_and_goes_away() -> None:
    terminal, clock = Terminal(), Clock()
    bar = Bar(terminal, 200, clock)
    bar.show(1, 0)
    assert terminal.getvalue() == ""  # one image, or few, need none
    clock.now += 2
    bar.show(50, 3)
    assert shown(terminal) == "[#####...............] 50 of 200, 25/s, 0:06 left, 3 failed"
    bar.show(51, 3)
    assert "51" not in terminal.getvalue()  # at most ten times a second
    clock.now += 1998
    bar.show(100, 0)
    assert shown(terminal) == "[##########..........] 100 of 200, 0/s, 33:20 left"
    bar.clear()
    assert shown(terminal) == ""
    assert "\n" not in terminal.getvalue()


def test_the_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "31")
    terminal, clock = Terminal(), Clock()
    bar = Bar(terminal, 100_000, clock)
    clock.now += 1
    bar.show(10, 0)
    assert len(shown(terminal)) == 30
    clock.now += 1
    bar.show(20, 0)
    assert max(map(len, re.split("[\r]", terminal.getvalue()))) == 30


def test_no_bar_for_one_image_or_in_a_file() -> None:
    clock = Clock()
    for stream, total in ((Terminal(), 1), (io.StringIO(), 100)):
        bar = Bar(stream, total, clock)
        clock.now += 1
        bar.show(1, 0)
        bar.clear()
        assert stream.getvalue() == ""
