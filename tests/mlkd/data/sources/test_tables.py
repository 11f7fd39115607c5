import json
from pathlib import Path

import pytest

from mlkd.data.sources import cells
from mlkd.data.sources.rows import Row
from mlkd.data.sources.table_options import TableOptions
from mlkd.data.sources.tables import read_table


def table(folder: Path, *lines: str, name: str = "tags.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_tags(tmp_path: Path) -> None:
    result = read_table(
        table(tmp_path, "file,tags,unknown,split", "a.png,owl; cat,,val", 'b.png,,"bee;cat",', "c.png,,,")
    )
    assert result.form == "tags"
    assert result.labels == ("bee", "cat", "owl")
    assert result.rows == (
        Row(2, "a.png", ("owl", "cat"), (), "val"),
        Row(3, "b.png", (), ("bee", "cat"), None),
        Row(4, "c.png", (), (), None),
    )


def test_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "tag1,image,tag_2,tag 3", "owl,a.png,,cat", ",b.png,,", "", "bee,c.png,cat,")
    for form in ("auto", "columns"):
        result = read_table(path, TableOptions(form=form, file_column="image"))
        assert result.form == "columns"
        assert result.labels == ("bee", "cat", "owl")
        assert [(row.line, row.file, row.tags) for row in result.rows] == [
            (2, "a.png", ("owl", "cat")),
            (3, "b.png", ()),
            (5, "c.png", ("bee", "cat")),
        ]
    named = table(tmp_path, "file,first,second", "a.png,owl,cat")
    assert read_table(named, TableOptions(form="columns")).rows[0].tags == ("owl", "cat")


def test_one_hot(tmp_path: Path) -> None:
    result = read_table(table(tmp_path, "file,owl,cat,bee", "a.png,Yes,no,?", "b.png,,-1,1.0", "c.png,0.0,-1.0,FALSE"))
    assert result.form == "one_hot"
    assert result.labels == ("owl", "cat", "bee")
    assert [(row.tags, row.unknown) for row in result.rows] == [
        (("owl",), ("bee",)),
        (("bee",), ("owl", "cat")),
        ((), ("cat",)),
    ]


def test_numbered_columns_of_0_and_1_are_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "file,class1,class2", "a.png,1,0")
    with pytest.raises(ValueError, match=r"expected tags in the columns class1,class2, got only 0, 1 and unknown; set"):
        read_table(path)
    assert read_table(path, TableOptions(form="one_hot")).rows[0].tags == ("class1",)
    assert read_table(path, TableOptions(form="columns")).rows[0].tags == ("1", "0")


@pytest.mark.parametrize("cell", ["", "-1", "?"])
def test_a_one_hot_table_without_negatives_is_refused(cell: str, tmp_path: Path) -> None:
    path = table(tmp_path, "file,owl,cat", f"a.png,1,{cell}", f"b.png,{cell},1")
    with pytest.raises(
        ValueError, match=r"expected cells that mean a label is absent, got only 1 and .* set negative_v"
    ):
        read_table(path)
    rows = read_table(path, TableOptions(negative_values=(cell,))).rows
    assert [(row.tags, row.unknown) for row in rows] == [(("owl",), ()), (("cat",), ())]


def test_minus_one_is_unknown_and_the_warning_names_the_alternative(tmp_path: Path) -> None:
    path = table(tmp_path, "file,owl,cat", "a.png,1,0", "b.png,-1,1")
    result = read_table(path)
    assert result.rows[1].unknown == ("owl",)
    assert result.warnings == (
        f"{path}: -1 is read as unknown in 1 cells; if it means that the label is absent, set negative_values: [-1]",
    )
    assert read_table(path, TableOptions(negative_values=("-1",))).rows[1] == Row(3, "b.png", ("cat",))


def test_columns_without_yes_or_no_are_no_labels(tmp_path: Path) -> None:
    """A caption, an empty column, an unnamed index, and a comma at the end of every line."""
    path = table(tmp_path, ",file,owl,caption,empty,cat,", "0,a.png,1,one owl,,0,", "1,b.png,0,two,,1,")
    result = read_table(path)
    assert result.labels == ("owl", "cat")
    assert [row.unknown for row in result.rows] == [(), ()]
    assert result.unused == ("a column without a name", "caption", "empty", "a column without a name")


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"name": "a.png", "tags": ["owl", " cat"], "unknown": ["bee"], "split": "test"},
        {"name": "b.png", "tags": []},
    ]
    path = table(tmp_path, json.dumps(rows[0]), "", json.dumps(rows[1]), name="tags.jsonl")
    result = read_table(path, TableOptions(file_column="name"))
    assert result.form == "tags"
    assert result.labels == ("bee", "cat", "owl")
    assert result.rows == (Row(1, "a.png", ("owl", "cat"), ("bee",), "test"), Row(3, "b.png", ()))
    with pytest.raises(ValueError, match=r"form: expected tags for the JSON lines of .*, got one_hot"):
        read_table(path, TableOptions(form="one_hot"))


BAD_ENDS = (
    '"tags": [], "unknown": "bee"', '"tags": [], "split": 3', '"tags": {}', '"tags": null', '"tags": [null]',
    '"tags": [["owl"]]', '"tags": [true]', '"tags": [1.5]', '"tags": [""]', '"tags": [], "tags": ["owl"]',
    '"tags": "owl"', f'"tags": [{"9" * 5000}]', f'"tags": {"[" * 100_000}', '"tags": ["\\ud800"]', '"split": "val"',
)  # fmt: skip


@pytest.mark.parametrize(
    "line", ['["a.png"]', '{"file": "a.png"', *(f'{{"file": "a.png", {end}}}' for end in BAD_ENDS)]
)
def test_bad_json_rows_are_refused_or_skipped(line: str, tmp_path: Path) -> None:
    path = table(tmp_path, '{"file": "b.png", "tags": ["cat", 3]}', line, name="tags.jsonl")
    with pytest.raises(
        ValueError, match=r"tags.jsonl, line 2: expected .* got .*\nbad rows: 1 of 2; correct the table, or set skip_b"
    ):
        read_table(path)
    result = read_table(path, TableOptions(skip_bad_rows=True))
    assert [row.tags for row in result.rows] == [("cat", "3")]
    assert "1 bad rows left out, the first: line 2" in result.warnings[0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,tags", "a.png,cat", "b.png,cat,owl"], r"line 3: expected 2 values as in the header, got 3; quote"),
        (["file,tags", "a.png"], r"line 2: expected 2 values as in the header, got 1"),
        (
            ["file,tags,tags", "a.png,cat,owl"],
            r"line 1: expected every column once, got tags more often in file,tags,tags",
        ),
        (["file,split", "a.png,val"], r"line 1: expected a column tags, or several .*, got file,split"),
        (["file,owl,cat", "a.png,1,0", "b.png,2,0"], r"line 3: expected 1, 0, .* in column owl, got '2'; .*columns"),
        (["file,tags,unknown", "a.png,cat,cat"], r"line 2: expected a label to be a tag or unknown, got both for cat"),
        (
            ["file,labels,class", "a.png,cat,owl"],
            r"line 1: expected one column of tags, got labels, class; set tags_col",
        ),
        (
            ["file,owl,cat", "a.png,red,big"],
            r"expected a column of tags, or columns with 1 and 0, got owl, cat; set tags",
        ),
    ],
)
def test_errors_name_the_line(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"tags.csv[,:] {message}"):
        read_table(table(tmp_path, *lines))


def test_form_tags_needs_a_tags_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"tags.csv, line 1: expected a column tags, got owl; set tags_column: NAME"):
        read_table(table(tmp_path, "file,owl", "a.png,1"), TableOptions(form="tags"))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_bytes("file,tags\na.png,bär\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"tags.csv, line 2: expected text in UTF-8, got byte 0xe4; save a copy as UTF-8 and set table"
    ):
        read_table(tmp_path / "tags.csv")


def test_a_table_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tags.csv", "tags.jsonl"):
        with (tmp_path / name).open("w") as stream:
            stream.truncate(10**12)
        message = r"expected 13000\.0 GB of free memory to read 1000000\.0 MB, got \d+\.\d GB; leave out columns"
        with pytest.raises(ValueError, match=message):
            read_table(tmp_path / name)
    small = table(tmp_path, "file,tags", "a.png,cat")
    monkeypatch.setattr(cells, "MEMORY_FACTS", tmp_path / "none")  # as on a system other than Linux
    assert len(read_table(small).rows) == 1


@pytest.mark.parametrize("cell", [r"['a\x']", r"['\N{none}']", "['a\0']"])
def test_a_list_with_a_wrong_escape_is_a_bad_row(cell: str, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text(f'file,tags\n1.jpg,cat\n2.jpg,"{cell}"\n')
    with pytest.raises(ValueError, match="line 3: expected a list of quoted tags"):
        read_table(tmp_path / "tags.csv")


def test_a_backslash_that_is_no_escape_is_read(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("file,tags\n1.jpg,\"['a\\q', 'b']\"\n")
    assert read_table(tmp_path / "tags.csv").rows[0].tags == ("a\\q", "b")


@pytest.mark.parametrize("key", ["tags", "unknown"])
def test_text_that_is_no_unicode_is_a_bad_row(key: str, tmp_path: Path) -> None:
    rows = [{"file": "1.jpg", "tags": ["cat"]}, {"file": "2.jpg", "tags": ["dog"], key: ["\ud800"]}]
    (tmp_path / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="line 2: expected text, got a NUL or a lone surrogate"):
        read_table(tmp_path / "tags.jsonl")


def test_a_tag_that_looks_like_a_bad_list_is_read(tmp_path: Path) -> None:
    rows = "".join(f"{number}.jpg,cat;dog;owl{number};['a\\x']\n" for number in range(4))
    (tmp_path / "tags.csv").write_text(f"file,tags\n{rows}")
    assert read_table(tmp_path / "tags.csv").rows[0].tags == ("cat", "dog", "owl0", "['a\\x']")
