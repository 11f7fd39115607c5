"""`tagger.pyz tag --xmp` and `--hierarchy`: what is printed is also written where photo applications read it."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.tagger_cli import main
from tests.helpers import xmp

pytestmark = pytest.mark.usefixtures("cache")
Images = dict[str, Path]


@pytest.fixture
def photos(images: Images, tmp_path: Path) -> Path:
    """A folder of one's own: a.jpg is red, b.jpg is yellow, which is red and green."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(images["red"], folder / "a.jpg")
    shutil.copy(images["yellow"], folder / "b.jpg")
    return folder


def test_sidecars_get_what_is_printed_and_images_stay(run: Any, photos: Path) -> None:
    (photos / "b.xmp").write_bytes(xmp.document("<dc:subject><rdf:Bag><rdf:li>Red</rdf:li></rdf:Bag></dc:subject>"))
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in photos.glob("*.jpg")}
    printed = run("tag", photos)
    assert not (photos / "a.jpg.xmp").exists()
    assert run("tag", "--xmp", photos) == printed
    assert xmp.tags((photos / "a.jpg.xmp").read_bytes()) == ["red"]
    assert xmp.tags((photos / "b.xmp").read_bytes()) == ["Red", "green"]
    written = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in photos.iterdir()}
    assert run("tag", "--xmp", photos, photos / "a.jpg") == (printed[0] + printed[0].splitlines(True)[0], printed[1])
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in photos.iterdir()} == written
    assert written | before == written


def test_names_of_lightroom(run: Any, photos: Path) -> None:
    run("tag", "--xmp-lightroom", photos)
    assert sorted(file.name for file in photos.glob("*.xmp")) == ["a.xmp", "b.xmp"]


def test_a_sidecar_that_fails_is_an_image_that_fails_and_the_others_go_on(run: Any, photos: Path) -> None:
    (photos / "a.jpg.xmp").write_text("not XMP")
    (photos / "c.jpg").write_text("not an image")
    out, err = run("tag", "--xmp", "--json", photos, code=1)
    first, second, third = map(json.loads, out.splitlines())
    assert first["tags"][0]["label"] == "red"
    assert first["error"].startswith(f"{photos}/a.jpg.xmp: expected well-formed XML, got: ")
    assert (set(second), set(third)) == ({"image", "tags"}, {"image", "error"})
    assert err.splitlines()[0] == f"tagger: {photos}/a.jpg: {first['error']}"
    assert err.splitlines()[-1] == "2 of 3 images failed"
    assert (photos / "a.jpg.xmp").read_text() == "not XMP"
    assert set(xmp.tags((photos / "b.jpg.xmp").read_bytes())) == {"red", "green"}
    assert not (photos / "c.jpg.xmp").exists()


def test_images_of_a_bundle_are_tagged_and_get_no_sidecars(run: Any, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    out, err = run("tag", "--xmp", folder / "golden", code=1)
    assert len(out.splitlines()) == len(list((folder / "golden").glob("*.*g")))
    assert f"expected an image outside the bundle {folder.resolve()}, whose files must not change" in err
    assert sorted(folder.rglob("*")) == before


def test_a_hierarchy_is_printed_and_written(run: Any, photos: Path, tmp_path: Path) -> None:
    levels = tmp_path / "levels.txt"
    levels.write_text("colour/warm/red\n")
    a = photos / "a.jpg"
    assert run("tag", "--xmp", "--hierarchy", levels, a)[0] == f"{a}: colour/warm/red 1.00\n"
    written = (photos / "a.jpg.xmp").read_bytes()
    assert xmp.tags(written) == ["colour", "warm", "red"]
    assert xmp.tags(written, xmp.HIERARCHICAL) == ["colour|warm|red"]
    assert xmp.tags(written, xmp.TAGS_LIST) == ["colour/warm/red"]
    (tag,) = json.loads(run("tag", "--json", "--hierarchy", levels, a)[0])["tags"]
    assert tag["path"] == ["colour", "warm", "red"]
    (row,) = csv.DictReader(io.StringIO(run("tag", "--csv", "--hierarchy", levels, a)[0], newline=""))
    assert (row["tags"], row["paths"]) == ("red", "colour/warm/red")


def test_a_wrong_command_line_is_refused(
    run: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    levels = tmp_path / "levels.txt"
    levels.write_text("colour/gren\n")
    err = run.refuse("tag", "--hierarchy", levels, photos)
    assert err.startswith(f"tagger: {levels}, line 1: label: expected one of 3 known labels, got 'gren'; did you mean")
    assert "missing.txt" in run.refuse("tag", "--hierarchy", tmp_path / "missing.txt", photos)
    assert "-: expected files with --xmp, got standard input" in run.refuse("tag", "--xmp", "-")
    with pytest.raises(SystemExit):
        main(["tag", "--xmp", "--xmp-lightroom", str(photos)])
    assert "not allowed with argument" in capsys.readouterr().err
