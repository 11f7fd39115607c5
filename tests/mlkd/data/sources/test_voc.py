import json
import logging
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.progress import silent
from mlkd.data import Voc
from mlkd.data.audit import compare_counts
from mlkd.data.base import Sample
from mlkd.data.preparation import prepare
from mlkd.data.prepared import read_split
from mlkd.data.sources.voc import VOC_LABELS
from tests.helpers import layouts

COLUMNS = [VOC_LABELS.index(name) for name in layouts.VOC_NAMES]
BIRD, CAT, PERSON = COLUMNS


@pytest.fixture
def year(tmp_path: Path) -> Path:
    """The folder VOC2007 of 21 images."""
    return layouts.voc(tmp_path) / "VOCdevkit/VOC2007"


def read(year: Path, **options: float) -> dict[str, list[Sample]]:
    return Voc(root=year, **options).read(year, silent).splits  # type: ignore[arg-type]


def annotate(
    year: Path, number: int, *objects: tuple[str, int], size: str = "<width>48</width><height>32</height>"
) -> None:
    """Objects are a name and whether they are difficult, ever smaller."""
    body = "".join(
        layouts.OBJECT.format(name, difficult, 1, 1, 40 - 10 * place, 30)
        for place, (name, difficult) in enumerate(objects)
    )
    file = year / f"Annotations/{number:06d}.xml"
    file.write_text(f"<annotation><size>{size}</size>{body}</annotation>")


def test_official_layout(year: Path) -> None:
    splits = read(year)
    names = {split: [int(sample.name) for sample in samples] for split, samples in splits.items()}
    assert names["test"] == list(layouts.TEST)
    assert sorted(names["train"] + names["val"]) == list(layouts.TRAIN)
    assert BIRD in {label for sample in splits["val"] for label in sample.positives}
    for samples in splits.values():
        for sample in samples:
            assert list(sample.positives) == [COLUMNS[label] for label in layouts.labels_of(int(sample.name))]
    full = splits["test"][1]
    boxes = [(box.label, box.role, box.x0, box.y0, box.x1, box.y1) for box in full.boxes]
    assert boxes[:2] == [(BIRD, "major", 0.0, 0.0, 0.5, 1.0), (CAT, "minor", 0.5, 0.0, 0.875, 0.5)]
    for root in (year.parent, year.parent.parent):
        assert Voc(root=root).read(root, silent).splits == splits


@pytest.mark.parametrize(
    ("counts", "positives", "unknown"),
    [(True, (CAT, PERSON), ()), (False, (PERSON,), (CAT,))],
    ids=["count", "unknown"],
)
def test_difficult_objects_are_positive_or_unknown(
    counts: bool, positives: tuple[int, ...], unknown: tuple[int, ...], year: Path
) -> None:
    """A person that is not difficult is positive, whatever the other person is."""
    annotate(year, 20, ("cat", 1), ("person", 0), ("person", 1))
    last = read(year, difficult=counts)["test"][-1]
    assert (last.positives, last.unknown) == (positives, unknown)
    assert [box.label for box in last.boxes if box.role == "major"] == [CAT if counts else PERSON]


def test_a_difficult_object_is_masked_in_the_prepared_set(year: Path, tmp_path: Path) -> None:
    annotate(year, 20, ("cat", 1))
    prepare(Voc(root=year, difficult=False), tmp_path / "out", (16,))
    test = read_split(tmp_path / "out", "test")
    assert test.label_mask is not None
    assert np.argwhere(~test.label_mask).tolist() == [[6, CAT]]
    assert test.targets[6].sum() == 0


def test_images_without_file_or_readable_annotation_are_counted(
    year: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (year / "JPEGImages/000003.jpg").unlink()
    (year / "Annotations/000014.xml").write_text('<?xml version="1.0" encoding="no-such"?><annotation/>')
    (year / "Annotations/000015.xml").unlink()
    annotate(year, 16, size="<width>nan</width><height>20</height>")
    annotate(year, 17, size="")
    with caplog.at_level(logging.WARNING):
        prepare(Voc(root=year), tmp_path / "out", (16,))
    about = json.loads((tmp_path / "out/about.json").read_text())
    assert about["labels"]["cat"] == {"source": 8, "kept": 7, "dropped": {"missing file": 1}}
    assert about["left_out"] == {"missing file": 2, "unreadable annotation": 3}
    skipped = json.loads((tmp_path / "out/skipped.json").read_text())
    reasons = {name: cause.rpartition(": ")[2] for name, cause in skipped.items()}
    assert reasons == {
        "000003": f"missing file {year / 'JPEGImages/000003.jpg'}".rpartition(": ")[2],
        "000014": "no-such",
        "000015": f"missing file {year / 'Annotations/000015.xml'}",
        "000016": "size/width is 'nan', not a number",
        "000017": "no size/width",
    }
    assert "Pascal VOC2007: expected 5011 trainval as published, got 13: 4998 missing" in caplog.messages
    assert about["expected"] == {"trainval": 5011, "test": 4952, "labels with images": 20}
    assert about["found"] == {"trainval": 13, "test": 3, "labels with images": 3}


def test_only_differing_counts_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    compare_counts("VOC", {"trainval": 7}, {"trainval": 7})
    assert not caplog.messages
    compare_counts("VOC", {"trainval": 7}, {"trainval": 8})
    assert caplog.messages == ["VOC: expected 7 trainval as published, got 8"]


def test_errors_name_the_file(year: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root: expected the folders .* in one of .*nowhere.*VOC2007"):
        read(tmp_path / "nowhere")
    annotate(year, 2, ("unicorn", 0))
    with pytest.raises(ValueError, match=r"000002.xml: label: expected one of 20 known labels, got 'unicorn'"):
        read(year)
    annotate(year, 2)
    file = year / "ImageSets/Main/test.txt"
    file.write_bytes("000014\nGröße\n".encode("latin-1"))
    with pytest.raises(
        ValueError, match=r"test.txt, line 2: expected text in UTF-8, got byte 0xf6; save the file as UTF"
    ):
        read(year)
    file.write_text("\n\n")
    with pytest.raises(ValueError, match=r"test.txt: expected a name in each line, got none"):
        read(year)
    file.unlink()
    with pytest.raises(ValueError, match=r"expected the list .*test.txt, got none"):
        read(year)


def test_a_repeated_name_is_one_image(year: Path) -> None:
    with (year / "ImageSets/Main/test.txt").open("a") as stream:
        stream.write("000014\n000015\n")
    listing = Voc(root=year).read(year, silent)
    assert [int(sample.name) for sample in listing.splits["test"]] == list(layouts.TEST)
    (finding,) = listing.findings
    assert finding.numbers == "test.txt: 2, such as 000014, 000015. Each is one image."
