import json
import logging
from pathlib import Path

import pytest

from mlkd.data.tables import Row, read_table


def table(folder: Path, *lines: str, name: str = "tags.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_tags(tmp_path: Path) -> None:
    found = read_table(
        table(tmp_path, "file,tags,unknown,split", "a.png,owl; cat,,val", 'b.png,,"bee;cat",', "c.png,,,")
    )
    assert found.form == "tags"
    assert found.labels == ("bee", "cat", "owl")
    assert found.rows == (
        Row(2, "a.png", ("owl", "cat"), (), "val"),
        Row(3, "b.png", (), ("bee", "cat"), None),
        Row(4, "c.png", (), (), None),
    )


def test_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "tag1,image,tag_2,tag 3", "owl,a.png,,cat", ",b.png,,", "", "bee,c.png,cat,")
    for form in ("auto", "columns"):
        found = read_table(path, form=form, file_column="image")
        assert found.form == "columns"
        assert found.labels == ("bee", "cat", "owl")
        assert [(row.line, row.file, row.tags) for row in found.rows] == [
            (2, "a.png", ("owl", "cat")),
            (3, "b.png", ()),
            (5, "c.png", ("bee", "cat")),
        ]
    named = table(tmp_path, "file,first,second", "a.png,owl,cat")
    assert read_table(named, form="columns").rows[0].tags == ("owl", "cat")


def test_one_hot(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "file,owl,cat,bee", "a.png,1,0,?", "b.png,,-1,1.0", "c.png,0.0,-1.0,0"))
    assert found.form == "one_hot"
    assert found.labels == ("owl", "cat", "bee")
    assert [(row.tags, row.unknown) for row in found.rows] == [
        (("owl",), ("bee",)),
        (("bee",), ("owl", "cat")),
        ((), ("cat",)),
    ]


def test_labels_with_numbers(tmp_path: Path) -> None:
    path = table(tmp_path, "file,class1,class2", "a.png,1,0")
    with pytest.raises(ValueError, match=r"expected tags in the columns class1,class2, got only 0, 1 and unknown; say"):
        read_table(path)
    assert read_table(path, form="one_hot").rows[0].tags == ("class1",)
    assert read_table(path, form="columns").rows[0].tags == ("1", "0")


def test_one_hot_without_a_zero_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read_table(table(tmp_path, "file,owl,cat", "a.png,1,0"))
        assert not caplog.messages
        read_table(table(tmp_path, "file,owl,cat", "a.png,1,"))
    assert "no 0 in any column" in caplog.text


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"name": "a.png", "tags": ["owl", " cat"], "unknown": ["bee"], "split": "test"},
        {"name": "b.png", "tags": []},
    ]
    path = table(tmp_path, json.dumps(rows[0]), "", json.dumps(rows[1]), name="tags.jsonl")
    found = read_table(path, file_column="name")
    assert found.form == "tags"
    assert found.labels == ("bee", "cat", "owl")
    assert found.rows == (Row(1, "a.png", ("owl", "cat"), ("bee",), "test"), Row(3, "b.png", ()))
    with pytest.raises(ValueError, match=r"form: expected auto or tags for the JSON lines of .*, got one_hot"):
        read_table(path, form="one_hot")


@pytest.mark.parametrize("key", ['"unknown": "bee"', '"split": 3', '"tags": {}'])
def test_wrong_json_keys(key: str, tmp_path: Path) -> None:
    path = table(tmp_path, f'{{"file": "a.png", "tags": [], {key}}}', name="tags.jsonl")
    with pytest.raises(ValueError, match=r'tags.jsonl, line 1: expected \{"file": .* got '):
        read_table(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,tags", "a.png,cat", "b.png,cat,owl"], r"line 3: expected 2 values as in the header, got 3; quote"),
        (["file,tags", "a.png"], r"line 2: expected 2 values as in the header, got 1"),
        (["file,tags,tags", "a.png,cat,owl"], r"line 1: expected columns with names, each once, got file,tags,tags"),
        (["file,split", "a.png,val"], r"line 1: expected a column tags, or several .*, got file,split"),
        (["file,owl,cat", "a.png,1,0", "b.png,2,0"], r"line 3: expected 1, 0, .* in column owl, got '2'; .*columns"),
        (["file,label", "a.png,owl"], r"line 2: expected 1, 0, .* in column label, got 'owl'; .* form: columns"),
        (["file,tags,unknown", "a.png,cat,cat"], r"line 2: expected a label to be a tag or unknown, got both for cat"),
        (["file,tags,unknown", "a.png,cat,owl;;bee"], r"line 2: expected tags that are not empty"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(lines: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"tags.csv, {message}"):
        read_table(table(tmp_path, *lines))


def test_form_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"tags.csv, line 1: expected a column tags, got file,owl; or name another form"
    ):
        read_table(table(tmp_path, "file,owl", "a.png,1"), form="tags")


def test_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_bytes("\ufefffile,tags\r\na.png,bär\r\n".encode())
    assert read_table(tmp_path / "tags.csv").rows[0] == Row(2, "a.png", ("bär",))
    (tmp_path / "tags.csv").write_bytes("file,tags\na.png,bär\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"tags.csv: expected UTF-8, got .*; save it as UTF-8"):
        read_table(tmp_path / "tags.csv")
