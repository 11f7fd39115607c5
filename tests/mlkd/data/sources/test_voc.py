import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkd.core.progress import silent
from mlkd.data import Voc, prepare, read_split
from mlkd.data.sources.published import compare
from mlkd.data.sources.voc import VOC_LABELS
from tests.helpers import layouts

THING = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"""


def annotate(root: Path, name: str, *things: tuple[str, int, tuple[int, int, int, int]]) -> None:
    corners = ("x0", "y0", "x1", "y1")
    body = "".join(
        THING.format(name=label, difficult=difficult, **dict(zip(corners, box, strict=True)))
        for label, difficult, box in things
    )
    text = f"<annotation><size><width>40</width><height>20</height></size>{body}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)
    noise = np.random.default_rng(int(name)).integers(0, 255, (20, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "JPEGImages" / f"{name}.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    year = tmp_path / "VOCdevkit" / "VOC2007"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (year / part).mkdir(parents=True)
    names = [f"{number:06d}" for number in range(1, 41)]
    for name in names:
        annotate(year, name, ("dog", 0, (1, 1, 20, 20)), ("person", 0, (11, 6, 15, 15)))
    annotate(year, "000040", ("cat", 1, (1, 1, 40, 20)))
    (year / "ImageSets/Main/trainval.txt").write_text("\n".join(names[:30]) + "\n")
    (year / "ImageSets/Main/test.txt").write_text("\n".join(names[30:]) + "\n")
    return tmp_path


def test_official_layout(root: Path) -> None:
    listing = Voc(root=root).read(root, silent)
    assert len(VOC_LABELS) == 20
    names = {split: [sample.name for sample in samples] for split, samples in listing.splits.items()}
    assert names["test"] == [f"{number:06d}" for number in range(31, 41)]
    assert sorted(names["train"] + names["val"]) == [f"{number:06d}" for number in range(1, 31)]
    assert names["val"]
    first = listing.splits["test"][0]
    assert [VOC_LABELS.names[label] for label in first.positives] == ["dog", "person"]
    major, minor = first.boxes
    assert (major.role, minor.role) == ("major", "minor")
    assert (major.x0, major.y0, major.x1, major.y1) == (0.0, 0.0, 0.5, 1.0)
    assert (minor.x0, minor.y0, minor.x1, minor.y1) == (0.25, 0.25, 0.375, 0.75)


@pytest.mark.parametrize("folder", [".", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_root_may_be_any_of_three(folder: str, root: Path) -> None:
    assert len(Voc(root=root / folder).read(root, silent).splits["test"]) == 10


CAT, DOG = VOC_LABELS.index("cat"), VOC_LABELS.index("dog")


@pytest.mark.parametrize(
    ("counts", "positives", "unknown"), [(True, (CAT, DOG), ()), (False, (DOG,), (CAT,))], ids=["count", "unknown"]
)
def test_difficult_objects_count_or_are_unknown(
    counts: bool, positives: tuple[int, ...], unknown: tuple[int, ...], root: Path
) -> None:
    """A dog that is not difficult makes the label known, whatever the other one is."""
    dogs = [("dog", difficult, (1, 1, 9, 9)) for difficult in (0, 1)]
    annotate(root / "VOCdevkit/VOC2007", "000040", ("cat", 1, (1, 1, 40, 20)), *dogs)
    last = Voc(root=root, difficult=counts).read(root, silent).splits["test"][-1]
    assert (last.positives, last.unknown) == (positives, unknown)
    assert [(box.label, box.role) for box in last.boxes if box.role == "major"] == [(CAT if counts else DOG, "major")]


def test_a_difficult_object_is_neither_positive_nor_negative_in_the_prepared_set(root: Path) -> None:
    prepare(Voc(root=root, difficult=False), root / "data", (16,))
    test = read_split(root / "data", "test")
    assert test.label_mask is not None
    assert np.argwhere(~test.label_mask.astype(bool)).tolist() == [[9, CAT]]
    assert test.targets[9].sum() == 0


def test_missing_and_unreadable_are_named(root: Path) -> None:
    year = root / "VOCdevkit/VOC2007"
    (year / "JPEGImages/000003.jpg").unlink()
    (year / "Annotations/000031.xml").write_text("<annotation><size>")
    (year / "Annotations/000032.xml").write_text("<annotation></annotation>")
    size = "<size><width>wide</width><height>0</height></size>"
    (year / "Annotations/000033.xml").write_text(f"<annotation>{size}</annotation>")
    listing = Voc(root=root).read(root, silent)
    assert set(listing.skipped) == {"000003", "000031", "000032", "000033"}
    assert "missing file" in listing.skipped["000003"]
    assert "no size/width" in listing.skipped["000032"]
    assert "'wide', no number" in listing.skipped["000033"]
    assert len(listing.splits["test"]) == 7


def test_an_unknown_label_is_refused(root: Path) -> None:
    annotate(root / "VOCdevkit/VOC2007", "000002", ("unicorn", 0, (1, 1, 9, 9)))
    with pytest.raises(ValueError, match=r"000002.xml: label: expected one of 20 known labels, got 'unicorn'"):
        Voc(root=root).read(root, silent)


def test_prepared(root: Path) -> None:
    prepare(Voc(root=root, val_share=0.3), root / "out", (16,))
    test = read_split(root / "out", "test")
    assert test.pixels(16).shape == (10, 16, 16, 3)
    assert test.targets[:, VOC_LABELS.index("dog")].sum() == 9


def test_counts_are_compared_with_the_published_ones(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        prepare(Voc(root=root), root / "out", (16,))
    assert "Pascal VOC2007: expected 5011 trainval as published, got 30: 4981 missing" in caplog.messages
    about = json.loads((root / "out/about.json").read_text())
    assert about["expected"] == {"trainval": 5011, "test": 4952, "labels with images": 20}
    assert about["found"] == {"trainval": 30, "test": 10, "labels with images": 3}


def test_a_full_set_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    compare("VOC", {"trainval": 7}, {"trainval": 7})
    assert not caplog.messages
    compare("VOC", {"trainval": 7}, {"trainval": 8})
    assert caplog.messages == ["VOC: expected 7 trainval as published, got 8"]


def test_the_miniature(tmp_path: Path) -> None:
    listing = Voc(root=layouts.voc(tmp_path)).read(tmp_path, silent)
    names = [VOC_LABELS.index(name) for name in layouts.VOC_NAMES]
    samples = [sample for samples in listing.splits.values() for sample in samples]
    assert len(samples) == 21
    for sample in samples:
        assert list(sample.positives) == [names[label] for label in layouts.labels_of(int(sample.name))]
    assert {names[0]} <= {label for sample in listing.splits["val"] for label in sample.positives}


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root: expected the folders .* in one of .*nowhere.*VOC2007"):
        Voc(root=tmp_path / "nowhere").read(tmp_path, silent)
    (root / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").unlink()
    with pytest.raises(ValueError, match=r"expected the list .*test.txt, got none"):
        Voc(root=root).read(root, silent)
    with pytest.raises(ValueError, match=r"val_share: expected 0.05 to 0.5, got 0.9"):
        Voc(root=root, val_share=0.9)


def test_fingerprint_sees_a_changed_annotation_and_a_missing_image(root: Path) -> None:
    first = Voc(root=root).fingerprint()
    annotate(root / "VOCdevkit/VOC2007", "000001", ("dog", 0, (1, 1, 20, 20)))
    before = Voc(root=root).fingerprint()
    assert before != first
    (root / "VOCdevkit/VOC2007/JPEGImages/000002.jpg").unlink()
    assert Voc(root=root).fingerprint() != before
    assert not Voc(root=root).needs_fetch()


def test_a_name_twice_in_a_list_is_one_image(root: Path) -> None:
    with (root / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").open("a") as stream:
        stream.write("000031\n000032\n")
    listing = Voc(root=root).read(root, silent)
    assert [sample.name for sample in listing.splits["test"]] == [f"{number:06d}" for number in range(31, 41)]
    (finding,) = listing.findings
    assert finding.numbers == "test.txt: 2, as 000031, 000032. Each is one image."


def test_a_foreign_encoding_and_an_empty_list_are_named(root: Path) -> None:
    file = root / "VOCdevkit/VOC2007/ImageSets/Main/test.txt"
    file.write_bytes("000031\nGröße\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"test.txt, line 2: expected text in UTF-8, got byte 0xf6; save the file as UTF"
    ):
        Voc(root=root).read(root, silent)
    file.write_text("\n\n")
    with pytest.raises(ValueError, match=r"test.txt: expected a name in each line, got none"):
        Voc(root=root).read(root, silent)


def test_labels_of_images_that_are_left_out_are_counted(root: Path) -> None:
    year = root / "VOCdevkit/VOC2007"
    (year / "JPEGImages/000003.jpg").unlink()
    (year / "Annotations/000031.xml").write_text('<?xml version="1.0" encoding="no-such"?><annotation/>')
    (year / "Annotations/000032.xml").unlink()
    size = "<size><width>nan</width><height>20</height></size>"
    (year / "Annotations/000033.xml").write_text(f"<annotation>{size}</annotation>")
    prepare(Voc(root=root), root / "out", (16,))
    about = json.loads((root / "out/about.json").read_text())
    assert about["labels"]["dog"] == {"source": 36, "kept": 35, "dropped": {"missing file": 1}}
    assert about["left_out"] == {"missing file": 2, "unreadable annotation": 2}
    skipped = json.loads((root / "out/skipped.json").read_text())
    assert skipped["000031"].endswith("000031.xml: unknown encoding: no-such")
    assert skipped["000033"].endswith("size/width is 'nan', no number")
