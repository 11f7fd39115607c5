import json
import logging
from pathlib import Path

import pytest

from mlkd.core.progress import silent
from mlkd.data import NusWide
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from tests.helpers import layouts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return layouts.nuswide(tmp_path)


def test_official_layout(root: Path) -> None:
    listing = NusWide(root=root).read(root, silent)
    assert listing.labels.names == layouts.CONCEPTS
    assert listing.splits["test"][0].name == "clouds/0014_2124414.jpg"
    assert [len(listing.splits["test"]), sum(map(len, listing.splits.values()))] == [7, 21]
    for samples in listing.splits.values():
        for sample in samples:
            assert sample.file.is_file()
            assert list(sample.positives) == layouts.labels_of(int(sample.file.name[:4]))
    assert len(listing.splits["val"]) >= 2


def test_alternative_folders(root: Path) -> None:
    before = NusWide(root=root).read(root, silent)
    (root / "Groundtruth").mkdir()
    (root / "TrainTestLabels").rename(root / "Groundtruth/TrainTestLabels")
    (root / "images").mkdir()
    for file in list((root / "Flickr").rglob("*.jpg")):
        file.rename(root / "images" / file.name)
    for folder in (root / "Flickr").iterdir():
        folder.rmdir()
    (root / "Flickr").rmdir()
    (root / "ImageList/Imagelist.txt").unlink()
    after = NusWide(root=root).read(root, silent)
    for split, samples in after.splits.items():
        assert [(sample.name, sample.positives) for sample in samples] == [
            (sample.name, sample.positives) for sample in before.splits[split]
        ]
        assert all(sample.file.is_file() for sample in samples)


def test_missing_images_are_reported_and_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "Flickr/clouds/0002_212442.jpg").unlink()
    (root / "Flickr/clouds/0017_2124417.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        prepare(NusWide(root=root), root / "out", (16,))
    assert set(json.loads((root / "out/skipped.json").read_text())) == {
        "clouds/0002_212442.jpg",
        "clouds/0017_2124417.jpg",
    }
    about = json.loads((root / "out/about.json").read_text())
    assert about["skipped"] == 2
    assert about["expected"] == {"Train images": 161_789, "Test images": 107_859, "labels with images": 81}
    assert about["found"] == {"Train images": 13, "Test images": 6, "labels with images": 3}
    assert "NUS-WIDE: expected 161789 Train images as published, got 13: 161776 missing" in caplog.messages
    test = read_split(root / "out", "test")
    assert [list(row.nonzero()[0]) for row in test.targets] == [
        layouts.labels_of(number) for number in layouts.TEST if number != 17
    ]


def test_inconsistent_lists_are_refused(root: Path) -> None:
    labels = root / "TrainTestLabels/Labels_beach_Train.txt"
    whole = labels.read_text()
    labels.write_text(whole[:-2])
    with pytest.raises(ValueError, match=r"Labels_beach_Train.txt: expected 14 lines as in TrainImagelist.*, got 13"):
        NusWide(root=root).read(root, silent)
    labels.write_text("0\n2\n" + whole[4:])
    with pytest.raises(ValueError, match=r"Labels_beach_Train.txt, line 2: expected 0 or 1, got '2'"):
        NusWide(root=root).read(root, silent)
    labels.unlink()
    with pytest.raises(ValueError, match=r"expected the labels .*Labels_beach_Train.txt, got none"):
        NusWide(root=root).read(root, silent)
    with (root / "ImageList/Imagelist.txt").open("a") as stream:
        stream.write("actor\\9.jpg\n")
    with pytest.raises(ValueError, match=r"Imagelist.txt: expected 21 lines .* got 22"):
        NusWide(root=root).read(root, silent)


def test_errors_name_a_missing_file(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected the list .*Concepts81.txt, got none"):
        NusWide(root=tmp_path / "nowhere").read(tmp_path, silent)
    (root / "Flickr").rename(root / "elsewhere")
    with pytest.raises(ValueError, match=r"expected the folder Flickr or images in "):
        NusWide(root=root).read(root, silent)


def test_a_repeated_name_is_one_image(root: Path) -> None:
    lists = {
        file: file.read_text() for file in [*root.glob("ImageList/*.txt"), *root.glob("TrainTestLabels/*_Train.txt")]
    }
    for file, text in lists.items():
        lines = text.splitlines()
        if file.name != "TestImagelist.txt":
            last = "airport\\0000_212440.jpg" if file.parent.name == "ImageList" else lines[0]
            file.write_text("\n".join([*lines, last]) + "\n")
    listing = NusWide(root=root).read(root, silent)
    assert sum(map(len, listing.splits.values())) == 21
    assert listing.findings[0].numbers == "TrainImagelist.txt: 1. Each is one image."
    labels = root / "TrainTestLabels/Labels_beach_Train.txt"
    labels.write_text("\n".join([*labels.read_text().splitlines()[:-1], "1"]) + "\n")
    with pytest.raises(
        ValueError, match=r"TrainImagelist.txt, line 15: expected the labels of line 1 for the same name"
    ):
        NusWide(root=root).read(root, silent)


def test_errors_name_a_list_with_bad_encoding_or_names(root: Path) -> None:
    (root / "ConceptsList/Concepts81.txt").write_bytes(b"airport\nbe\xe4ch\nclouds\n")
    with pytest.raises(ValueError, match=r"Concepts81.txt, line 2: expected text in UTF-8, got byte 0xe4"):
        NusWide(root=root).read(root, silent)
    (root / "ConceptsList/Concepts81.txt").write_text("airport\nairport\nclouds\n")
    with pytest.raises(ValueError, match=r"Concepts81.txt: labels: expected distinct names, got \['airport'\]"):
        NusWide(root=root).read(root, silent)
