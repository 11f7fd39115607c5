"""Names of numbers, spellings of one label, and separators of tags."""

from pathlib import Path

import pytest

from mlkd.data.sources.label_names import merge_spellings, replace_numbers
from mlkd.data.sources.rows import Row
from mlkd.data.sources.separators import other_separator, split_tags

ROWS = [Row(2, "a.jpg", ("1", "3")), Row(3, "b.jpg", ("2",), ("03",))]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.txt", "cat\nred dog\nowl\n"),
        ("n.txt", "1 cat\n2 red dog\n3 owl\n"),
        ("n.txt", "1: cat\n2: red dog\n3: owl"),
        ("n.csv", 'id,name\n1,cat\n2,"red dog"\n3,owl\n'),
        ("n.csv", "name,id\ncat,1\nred dog,2\nowl,3\n"),
        ("n.json", '["cat", "red dog", "owl"]'),
        ("n.json", '{"1": "cat", "2": "red dog", "3": "owl"}'),
        ("n.json", '{"cat": 1, "red dog": 2, "owl": 3}'),
    ],
)
def test_names_of_numbers(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    rows, order = replace_numbers(ROWS, (), tmp_path / name)
    assert [(row.tags, row.unknown) for row in rows] == [(("cat", "owl"), ()), (("red dog",), ("owl",))]
    assert order == ["cat", "red dog", "owl"]


def test_a_list_starts_at_zero_if_a_zero_is_used(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("cat\ndog\nowl\n")
    assert replace_numbers([Row(2, "a.jpg", ("0", "2"))], (), tmp_path / "n.txt")[0][0].tags == ("cat", "owl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\ndog\nowl\nbee\nant\n", "expected a list of names for the numbers 1 to 3 from 0 or from 1, got 5 names"),
        ("1 cat\n2 dog\n", "expected a name for every label, got none for 03, 3"),
        ("1 cat\n1 dog\n3 owl", "expected every number once, got some repeatedly"),
    ],
)
def test_names_that_do_not_match_the_numbers_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text(text)
    with pytest.raises(ValueError, match=f"n.txt: {message}.* set"):
        replace_numbers(ROWS, (), tmp_path / "n.txt")


def test_spellings_are_merged_only_on_request() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rows = [Row(2, "a", (composed, "Red  Dog")), Row(3, "b", (decomposed,), ("red dog",)), Row(4, "c", (composed,))]
    same, warnings = merge_spellings(rows, merge=False)
    assert same == rows
    assert f"{composed!r} 2, {decomposed!r} 1" in warnings[0]
    assert "'Red  Dog' 1, 'red dog' 1; set merge_labels: true" in warnings[0]
    joined, _ = merge_spellings([*rows, Row(5, "d", (composed, decomposed))], merge=True)
    assert [row.tags for row in joined] == [(composed, "Red  Dog"), (composed,), (composed,), (composed,)]
    assert joined[1].unknown == ("Red  Dog",)


@pytest.mark.parametrize(
    ("text", "separator", "tags"),
    [
        ("cat; dog;", ";", ("cat", "dog")),
        ("cat;;dog", ";", ("cat", "dog")),
        (" 3  17 ", " ", ("3", "17")),
        ("cat, dog", ", ", ("cat", "dog")),
        ("['Comedy', 'Drama']", ";", ("Comedy", "Drama")),
        ('["Rock \'n\' Roll", "a,b"]', ";", ("Rock 'n' Roll", "a,b")),
        ("['Comedy' 'Drama']", ";", ("Comedy", "Drama")),
        ("[]", ";", ()),
        ("[1, 17]", ";", ("1", "17")),
        ("[REC]", ";", ("[REC]",)),
        ("", ";", ()),
    ],
)
def test_tags_of_a_cell(text: str, separator: str, tags: tuple[str, ...]) -> None:
    assert split_tags(text, separator) == tags


def test_a_malformed_list_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a list of quoted tags, got \['cat', dog\]"):
        split_tags("['cat', dog]", ";")


@pytest.mark.parametrize(
    ("texts", "other"),
    [
        (["cat, dog", "cat", "dog", "owl, cat"], ","),
        (["1 19", "3", "19", "1 3 19", "1"], " "),
        ([f"{a} {b} {c}" for a in "abc" for b in "def" for c in "ghi"], " "),
        (["a/b", "b/c", "a", "b", "c"], "/"),
        (["red dog", "grey dog", "red cat", "grey cat"], None),
        (["Paris, France", "Rome, Italy", "Bern, Switzerland"], None),
        (["cat", "dog", "owl"], None),
        (["fire truck", "truck", "fire", *"abcdefghijklmnop"], None),
    ],
)
def test_another_separator_is_detected(texts: list[str], other: str | None) -> None:
    assert other_separator(texts, ";") == other
