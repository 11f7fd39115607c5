"""Rows of tables with any quotes, delimiters and encoding; lines are counted as an editor counts them."""

import csv
import io
from pathlib import Path

import pytest

from mlkd.data.sources.cells import read_cells
from mlkd.data.sources.table_options import TableOptions
from mlkd.data.sources.tables import read_table


def cells(tmp_path: Path, text: str | bytes) -> list[tuple[int, list[str]]]:
    (tmp_path / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_cells(tmp_path / "t.csv").records


def test_regular_quotes_are_read_as_the_csv_module_reads_them(tmp_path: Path) -> None:
    text = 'file,tags,note\na.jpg,"cat, dog","set ""hi"""\nb.jpg,cat,"two\nlines, and ""more"""\n"c.jpg",,""\n'
    expected = list(csv.reader(io.StringIO(text)))[1:]
    assert cells(tmp_path, text) == list(zip((2, 3, 5), expected, strict=True))


@pytest.mark.parametrize(
    ("line", "caption"),
    [
        ('a.jpg,1,"A "stop" sign, red"', 'A "stop" sign, red'),
        ('a.jpg,1,"A /"kitchen/" sign"', 'A /"kitchen/" sign'),
        ('a.jpg,1,A man with a "hat"', 'A man with a "hat"'),
        ('a.jpg,1,"never closed', "never closed"),
        ('a.jpg,1, "space in front"', "space in front"),
        ('a.jpg,1,"ends in a quote"", then more"', 'ends in a quote", then more'),
    ],
)
def test_irregular_quotes(line: str, caption: str, tmp_path: Path) -> None:
    """The following rows stay rows."""
    text = f'file,tags,note\n{line}\nb.jpg,2,"closed"\nc.jpg,3,x\n'
    assert cells(tmp_path, text) == [
        (2, ["a.jpg", "1", caption]),
        (3, ["b.jpg", "2", "closed"]),
        (4, ["c.jpg", "3", "x"]),
    ]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ('"file\nname",tags', ("file name", "tags")),
        ('file,"tags \r\n(several,\nas they come)"', ("file", "tags (several, as they come)")),
        ('"file\nname";"tags"', ("file name", "tags")),
    ],
)
def test_a_header_of_several_lines(header: str, names: tuple[str, ...], tmp_path: Path) -> None:
    mark = ";" if ";" in header else ","
    (tmp_path / "t.csv").write_text(f"{header}\na.jpg{mark}cat\n", newline="")
    result = read_cells(tmp_path / "t.csv")
    assert (result.header, [values for _, values in result.records]) == (names, [["a.jpg", "cat"]])


def test_an_open_quote_in_the_header_swallows_no_row(tmp_path: Path) -> None:
    assert cells(tmp_path, 'file,"tags\na.jpg,cat\nb.jpg,dog"\n') == [(2, ["a.jpg", "cat"]), (3, ["b.jpg", 'dog"'])]


def test_an_open_quote_that_a_later_row_closes_swallows_nothing(tmp_path: Path) -> None:
    text = 'file,tags,note\na.jpg,1,"open\nb.jpg,2,plain\nc.jpg,3,closed"\n'
    assert [values[0] for _, values in cells(tmp_path, text)] == ["a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize(("mark", "newline"), [(",", "\r\n"), ("\t", "\n"), (";", "\r")])
def test_delimiters_newlines_and_encodings(mark: str, newline: str, encoding: str, tmp_path: Path) -> None:
    text = newline.join([f"file{mark}tags", "", f"bär.jpg{mark}cat", f"b\u2028.jpg{mark}", ""])
    assert cells(tmp_path, text.encode(encoding)) == [(3, ["bär.jpg", "cat"]), (4, ["b\u2028.jpg", ""])]


def test_bad_rows_are_listed_together_and_can_be_skipped(tmp_path: Path) -> None:
    names = ["a\0.jpg", "x" * 256 + ".jpg", "/etc/x.jpg", "../x.jpg", "", "b.jpg,dog,more", "c.jpg"]
    rows = [f"good{number}.jpg,cat" for number in range(8)]
    lines = ["file,tags", *rows, *(name if name.startswith(("b.", "c.")) else f"{name},cat" for name in names)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"bad rows: 7 of 15; correct the table, or set skip_bad_rows: true") as raised:
        read_table(tmp_path / "t.csv")
    listed = str(raised.value).splitlines()[:-1]
    assert [int(line.partition("line ")[2].partition(":")[0]) for line in listed] == list(range(10, 17))
    result = read_table(tmp_path / "t.csv", TableOptions(skip_bad_rows=True))
    assert [row.file for row in result.rows] == [f"good{number}.jpg" for number in range(8)]
    assert [bad.line for bad in result.bad] == list(range(10, 17))


@pytest.mark.parametrize(
    ("text", "got"),
    [("", "an empty file"), ("file,tags\n", "only the names file, tags"), ("id,a,b\n\n", "only the names")],
)
def test_a_table_without_rows_is_refused(text: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=f"a row for each image below it, got {got}.*; add them, or set table: FILE"):
        read_table(tmp_path / "t.csv", TableOptions(file_column="id" if text.startswith("id") else "file"))


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\0", b'"', b"file,tags\n" + b'"' * 1001, b"file,tags\n\x00,\x00\n"]
)
def test_arbitrary_content_raises_an_error_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.csv"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("mark", [";", ",", "\t"])
@pytest.mark.parametrize("line", ["sep={}", '"sep={}"', "sep={}{}"])
def test_the_line_of_excel_above_the_header(mark: str, line: str, tmp_path: Path) -> None:
    text = "\n".join([line.format(mark, mark), mark.join(("file", "tags")), mark.join(("a.jpg", "cat"))])
    assert cells(tmp_path, text) == [(3, ["a.jpg", "cat"])]


@pytest.mark.parametrize(("mark", "name"), [(";", "a semicolon"), (",", "a comma"), ("\t", "a tab")])
def test_too_many_values_name_the_character_between_cells(mark: str, name: str, tmp_path: Path) -> None:
    cells(tmp_path, "\n".join([mark.join(("file", "tags")), mark.join(("a.jpg", "cat", "dog"))]))
    (bad,) = read_cells(tmp_path / "t.csv").bad
    assert bad.reason == f'expected 2 values as in the header, got 3; quote a value that contains {name}, "a{mark}b"'
