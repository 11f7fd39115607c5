"""The file of a row, and several rows of one file."""

import unicodedata
from pathlib import Path

import pytest

from mlkd.core import image_kinds
from mlkd.data import Folder
from mlkd.data.sources.file_names import FileNames, resolve_files
from mlkd.data.sources.rows import Row, combine_rows


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize(
    "written", ["sub/Bär 1.JPG", "sub/bär 1.jpg", "sub/Bär 1", "Bär 1.JPG", "Bär 1", "./sub/Bär 1.JPG"]
)
def test_names_in_any_unicode_form_match(written: str, in_table: str, on_disk: str, tmp_path: Path) -> None:
    file = tmp_path / unicodedata.normalize(on_disk, "sub/Bär 1.JPG")
    file.parent.mkdir()
    file.touch()
    (tmp_path / "sub/other.jpg").touch()
    (tmp_path / "sub/Bär 1.txt").touch()
    (resolved,) = FileNames(tmp_path).find(unicodedata.normalize(in_table, written))
    assert (tmp_path / resolved).samefile(file)


def test_the_closest_name_is_used_and_ambiguous_names_are_refused(tmp_path: Path) -> None:
    for name in ("1.png", "1.jpg", "2.png", "deep/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert FileNames(tmp_path).find("2.png") == ["2.png"]
    assert FileNames(tmp_path).find("2") == ["2.png"]
    assert FileNames(tmp_path, ".jpg").find("1") == ["1.jpg"]
    with pytest.raises(ValueError, match=r"line 7: expected one file named '1', got 1.jpg, 1.png; set suffix: "):
        resolve_files([Row(7, "1", ())], FileNames(tmp_path), Path("tags.csv"))
    rows = [Row(2, "2", ()), Row(3, "3.png", ()), Row(4, "1.png", ())]
    resolved, missing, warnings = resolve_files(rows, FileNames(tmp_path), Path("tags.csv"))
    assert [row.file for row in resolved] == ["2.png", "1.png"]
    assert missing == {"3.png": f"missing file {tmp_path / '3.png'}"}
    assert warnings == ("tags.csv: 1 names are not exact file names, the first: 2 is 2.png",)
    *_, warnings = resolve_files(rows[:2], FileNames(tmp_path), Path("tags.csv"))
    assert warnings == ()  # names that all lack the suffix are a convention, no mistake


def test_all_image_formats_match_inexact_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a format of a plug-in, and a file without suffix that starts like an image; nothing else."""
    monkeypatch.setattr(image_kinds, "plugins", lambda: {".heic": "HEIF"})
    for name in ("sub/a.HEIC", "sub/b", "sub/c.cr2", "sub/d", "e.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff" if name == "sub/b" else b"text")
    names = FileNames(tmp_path)
    resolved = {name: names.find(name) for name in ("a", "a.heic", "b", "c", "d", "e.heic")}
    assert resolved == {
        "a": ["sub/a.HEIC"],
        "a.heic": ["sub/a.HEIC"],
        "b": ["sub/b"],
        "c": [],
        "d": [],
        "e.heic": ["e.jpg"],
    }


def test_rows_of_one_file() -> None:
    table = Path("tags.csv")
    rows = [Row(2, "a", ("cat", "dog")), Row(3, "b", ()), Row(4, "a", ("dog", "cat"))]
    once, warnings = combine_rows(rows, table, merge=False)
    assert once == rows[:2]
    assert warnings == ("tags.csv: 1 files are in several rows; their tags were merged",)
    rows[2] = Row(4, "a", ("owl",), ("cat", "bee"))
    with pytest.raises(ValueError, match=r"got 1 files .* 'a' in lines 2, 4; set merge_rows: true"):
        combine_rows(rows, table, merge=False)
    assert combine_rows(rows, table, merge=True)[0][0] == Row(2, "a", ("cat", "dog", "owl"), ("bee",))
    rows[2] = Row(4, "a", ("owl",), (), "test")
    with pytest.raises(ValueError, match=r"line 2: expected 'a' in one split, got None, test; set split_column: null"):
        combine_rows(rows, table, merge=True)


def test_two_names_of_one_file_are_one_file(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").touch()
    rows = [f"{number},{'cat' if number % 2 else ''}" for number in range(10)]
    (tmp_path / "tags.csv").write_text("\n".join(["file,tags", *rows, "1.png,dog"]))
    with pytest.raises(ValueError, match=r"'1.png' in lines 3, 12; set merge_rows: true"):
        Folder(root=tmp_path).read_rows()
    resolved = Folder(root=tmp_path, merge_rows=True).read_rows()
    assert {row.file: row.tags for row in resolved.rows}["1.png"] == ("cat", "dog")
