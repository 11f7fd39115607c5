"""Tables of `tag --csv` that a person has corrected, from the writer's row to labels."""

from pathlib import Path

import pytest

from export.tagger.output import CSV_HEADER, as_csv
from export.tagger.tagger import Tag
from mlkd.core.progress import silent
from mlkd.data import Folder
from mlkd.data.sources.cells import read_cells
from mlkd.data.sources.rows import Row
from mlkd.data.sources.table_options import TableOptions
from mlkd.data.sources.tables import read_table
from mlkd.data.sources.verdicts import Judged, Verdicts, read_verdicts
from tests.helpers import layouts

ODD = ["=1+1", "+a", "-b", "@c", "'=d", "'", "''", "?e", "!f", "?", "a;b", 'say "g"', '";', "h, i", "'s-Hertogenbosch"]


def table(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    (folder / "tags.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / "tags.csv"


def read(path: Path) -> Verdicts:
    return read_verdicts(path, read_cells(path))


def judged(verdicts: Verdicts) -> list[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...], bool]]:
    assert not verdicts.bad
    return [(row.file, row.present, row.absent, row.unknown, row.complete) for row in verdicts.rows]


def test_what_the_tagger_writes_is_read_back(tmp_path: Path) -> None:
    names = ["=x.jpg", "'-y.jpg", 'a,"b".jpg', "-", *(f"{name}.jpg" for name in ODD)]
    rows = [as_csv(name, [Tag(label, 0.9) for label in ODD]) + "ok" for name in names]
    verdicts = read(table(tmp_path, CSV_HEADER, *rows))
    assert [row.file for row in verdicts.rows] == names
    assert {row.present for row in verdicts.rows} == {tuple(ODD)}
    assert not verdicts.bad


def test_a_row_without_a_verdict_is_never_read(tmp_path: Path) -> None:
    rows = [as_csv(f"{number}.jpg", [Tag("cat", 0.9)]) for number in range(130)]
    verdicts = read(table(tmp_path, CSV_HEADER, *rows, f"{as_csv('x.jpg', [])} OK "))
    assert [row.file for row in verdicts.rows] == ["x.jpg"]
    assert verdicts.unjudged == 130


def test_verdicts_and_marks(tmp_path: Path) -> None:
    lines = [
        "a.jpg,cat; dog ;cat,ok",
        "b.jpg,?cat;dog,Ok",
        "c.jpg,!cat;dog,PARTIAL",
        "d.jpg,,ok",
        "e.jpg,? cat;! dog,ok",
    ]
    assert judged(read(table(tmp_path, "image,tags,verdict", *lines))) == [
        ("a.jpg", ("cat", "dog"), (), (), True),
        ("b.jpg", ("dog",), (), ("cat",), True),
        ("c.jpg", ("dog",), ("cat",), (), False),
        ("d.jpg", (), (), (), True),
        ("e.jpg", (), ("dog",), ("cat",), True),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_that_spreadsheets_save(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = [["Verdict", "note", "Image", "TAGS"], [" ok ", "seen", "ä.jpg", '"Straße;dog"'], ["", "", "b.jpg", "cat"]]
    path = table(tmp_path, *(delimiter.join(row) for row in rows), encoding=encoding)
    assert judged(read(path)) == [("ä.jpg", ("Straße", "dog"), (), (), True)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,cat,yes", "expected the verdict ok, partial or nothing, got 'yes'; write ok for"),
        ("a.jpg,,partial", "expected tags that are known with partial, got none; write !cat"),
        ("a.jpg,cat;!cat,ok", "expected each label once as a tag, absent or unknown, got several for cat"),
        ("a.jpg,cat;!,ok", "expected a label after !, got none; write !cat, or '! for the label !"),
        ("a.jpg,? ;cat,ok", "expected a label after ?, got none; write ?cat"),
        (",cat,ok", "expected a file name, got an empty one"),
        ("a.jpg,cat,ok,more", "expected 3 values as in the header, got 4"),
    ],
)
def test_bad_rows_are_named_with_their_line(tmp_path: Path, row: str, reason: str) -> None:
    path = table(tmp_path, "image,tags,verdict", "b.jpg,dog,ok", row)
    with pytest.raises(ValueError, match="line 3") as raised:
        read_table(path, TableOptions(file_column="image"))
    assert reason in str(raised.value)


def test_a_column_of_unknown_labels_counts(tmp_path: Path) -> None:
    path = table(tmp_path, "image,tags,unknown,verdict", "a.jpg,cat,dog;owl,ok")
    assert judged(read(path)) == [("a.jpg", ("cat",), (), ("dog", "owl"), True)]


def test_tags_of_the_tagger_without_verdicts_are_refused(tmp_path: Path) -> None:
    options = TableOptions(file_column="image")
    header = CSV_HEADER.removesuffix(",verdict")
    with pytest.raises(ValueError, match=r"expected a column verdict, got image.*tags of the tagger, which nobody"):
        read_table(table(tmp_path, header, "a.jpg,cat,0.9,,"), options)
    with pytest.raises(ValueError, match="expected rows with a verdict, got none in 1; write ok"):
        read_table(table(tmp_path, CSV_HEADER, as_csv("a.jpg", [Tag("cat", 0.9)])), options)


def test_a_folder_learns_from_rows_with_a_verdict_only(tmp_path: Path) -> None:
    for number in range(40):
        layouts.draw(tmp_path / f"{number}.png", number)
    names = {0: "cat", 1: "!cat;owl", 2: "?owl", 3: ""}
    verdicts = ("ok", "partial", "ok", "")
    lines = [f"{tmp_path / f'{number}.png'},{names[number % 4]},{verdicts[number % 4]}" for number in range(40)]
    source = Folder(root=tmp_path, table=str(table(tmp_path, "image,tags,verdict", *lines)), file_column="image")
    read = source.read_rows()
    assert len(read.rows) == 30
    assert read.labels == ("cat", "owl")
    assert read.warnings == (f"{tmp_path / 'tags.csv'}: 10 rows without a verdict are not read",)
    assert read.rows[:3] == (
        Row(2, "0.png", ("cat",), ()),
        Row(3, "1.png", ("owl",), ()),
        Row(4, "2.png", (), ("owl",)),
    )
    assert sum(map(len, source.read(tmp_path, silent).splits.values())) == 30


@pytest.mark.parametrize("written", ["p/{}.png", "./p/{}.png", "{root}/{}.png", "q/../p/{}.png"])
def test_names_are_relative_to_the_folder_of_the_table(tmp_path: Path, written: str) -> None:
    """Also where the root has a folder of its own name with images of the same names."""
    root, count = tmp_path / "p", 12
    for number in range(count):
        layouts.draw(root / f"{number}.png", number)
        layouts.draw(root / f"p/{number}.png", number)
    lines = [f"{written.format(number, root=root)},{'cat' * (number % 2)},ok" for number in range(count)]
    path = table(tmp_path, "image,tags,verdict", *lines)
    read = Folder(root=root, table=str(path), file_column="image").read_rows()
    assert [row.file for row in read.rows] == [f"{number}.png" for number in range(count)]
    assert read.warnings == ()
    (root / "3.png").unlink()
    with pytest.raises(ValueError, match=rf"line 5: expected an image at {root}/3.png, got none"):
        Folder(root=root, table=str(path), file_column="image").read_rows()
    skipped = Folder(root=root, table=str(path), file_column="image", skip_bad_rows=True).read_rows()
    assert len(skipped.rows) == count - 1


def test_images_outside_the_root_are_refused_and_names_below_it_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(12):
        layouts.draw(tmp_path / f"photos/{number}.png", number)
    (tmp_path / "sub").mkdir()
    rows = [f"{number}.png,{'cat' * (number % 2)},ok" for number in range(12)]
    path = table(tmp_path / "sub", "image,tags,verdict", *(f"../photos/{row}" for row in rows))
    for root in (Path("photos"), tmp_path / "photos"):
        read = Folder(root=root, table=str(path), file_column="image").read_rows()
        assert [row.file for row in read.rows][:2] == ["0.png", "1.png"]
    with pytest.raises(
        ValueError, match=r"expected a file below the root, got '.*/photos/0.png'; set root: FOLDER, an"
    ):
        Folder(root=tmp_path / "sub", table=str(path), file_column="image").read_rows()
    table(tmp_path / "sub", "image,tags,verdict", *rows)
    read = Folder(root=tmp_path / "photos", table=str(path), file_column="image").read_rows()
    assert [row.file for row in read.rows][:2] == ["0.png", "1.png"]


def test_partial_rows_leave_other_labels_unknown(tmp_path: Path) -> None:
    path = table(tmp_path, "image,tags,verdict", "a.jpg,cat,partial", "b.jpg,owl;bee,ok", "c.jpg,!owl,partial")
    rows = read_table(path, TableOptions(file_column="image")).rows
    assert [row.unknown for row in rows] == [("bee", "owl"), (), ("bee", "cat")]


def test_a_judged_row_lists_what_it_names() -> None:
    assert Judged(2, "a.jpg", ("cat",), ("dog",), ("owl",), complete=False).named == ("cat", "dog", "owl")


def test_rows_with_one_fault_are_one_line(tmp_path: Path) -> None:
    path = table(tmp_path, "image,tags,verdict", "a.jpg,cat,ok", *("b.jpg,cat,fine" for _ in range(12)), ",cat,ok")
    with pytest.raises(ValueError, match="line 3 and 11 more: expected the verdict ok") as raised:
        read_table(path, TableOptions(file_column="image"))
    assert "line 15: expected a file name" in str(raised.value)
    assert "bad rows: 13 of 14" in str(raised.value)
