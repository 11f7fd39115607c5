"""COCO 2014 and 2017 in their official layouts, and exports of labelling tools in COCO's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import (
    LABELS_WITH_IMAGES,
    Finding,
    ImageSource,
    LeftOut,
    Listing,
    Sample,
    count_labels_with_images,
    rank_boxes,
)
from mlkd.data.paths import fingerprint_files, fingerprint_folders, relative_paths
from mlkd.data.sources.coco_file import CocoFile, CocoImage, read_coco_file
from mlkd.data.sources.coco_layout import CocoPart, Layout, find_layout, locate
from mlkd.data.splits import TRAIN_VAL_TEST, check_val_share, split_by_hash, train_val

# Images, and those with an object, which papers on 2014 count.  The others are kept, without labels.
PUBLISHED = {
    "2014": {"train2014": (82_783, 82_081), "val2014": (40_504, 40_137)},
    "2017": {"train2017": (118_287, 117_266), "val2017": (5_000, 4_952)},
}
PUBLISHED_LABELS = 80
MISSING, REPEATED = "missing file", "repeated entry"  # reasons for which images are left out
LATER = {"identity": "unless default"}
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Coco(ImageSource):
    """Annotation files in COCO's format, and the images that they name.

    Without `train` the layout is detected: COCO 2014 or 2017, whose val is the test set, or an export of CVAT (COCO
    1.0), Label Studio, FiftyOne or Roboflow.  Without a val part, a share of train becomes val, by hash of the name and
    fair to rare labels; if train is the only part, it is split 70/10/20.  Labels are the categories in the order of
    their ids, without those that only group others.  Crowds (iscrowd) count as positive, their boxes as objects.
    """

    kind: Literal["coco"] = "coco"
    root: Path
    val_share: float = 0.05
    train: CocoPart | None = field(default=None, metadata=LATER)
    val: CocoPart | None = field(default=None, metadata=LATER)
    test: CocoPart | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        check_val_share(self.val_share)
        if self.train is None and (self.val or self.test):
            raise ValueError("train: expected an annotation file where val or test has one, got none; name it as well")
        if self.val and not self.test:
            raise ValueError("test: expected an annotation file where val has one, got none; name val's as test")

    def _layout(self) -> Layout:
        given = {"train": self.train, "val": self.val, "test": self.test}
        parts = {split: part for split, part in given.items() if part is not None}
        return Layout(parts) if parts else find_layout(self.root)

    def fingerprint(self) -> str:
        """Hash names, sizes and times of the annotation files and the images."""
        layout = self._layout()
        annotations = [layout.annotations(self.root, split) for split in layout.parts]
        folders = [self.root / part.images if part.images else self.root for part in layout.parts.values()]
        return fingerprint_files(annotations, self.root)[:32] + fingerprint_folders(*dict.fromkeys(folders))[:32]

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""
        layout = self._layout()
        files: dict[str, CocoFile] = {}
        for done, split in enumerate(layout.parts):
            progress("annotations", done, len(layout.parts))
            files[split] = read_coco_file(layout.annotations(self.root, split))
        labels, grouping = _labels(list(files.values()))
        left_out = LeftOut(MISSING, REPEATED)
        parts = {split: _samples(self.root, layout, split, file, labels, left_out) for split, file in files.items()}
        counts = {
            layout.name(split): (len(samples), sum(bool(sample.positives) for sample in samples))
            for split, samples in parts.items()
        }
        declared = sum((file.counts for file in files.values()), Counter[str]())
        bounds = () if "val" in parts else train_val(self.val_share) if "test" in parts else TRAIN_VAL_TEST
        return Listing(
            labels,
            {"train": [], "val": [], "test": []} | parts | (split_by_hash(parts["train"], bounds) if bounds else {}),
            f"COCO {layout.year}" if layout.year else f"COCO annotations of {self.root}",
            ("CC-BY 4.0 (annotations)", "Flickr terms of use (images)") if layout.year else (),
            skipped=left_out.causes,
            published=len(parts) > 1,
            expected=_image_counts(PUBLISHED[layout.year]) | {LABELS_WITH_IMAGES: PUBLISHED_LABELS}
            if layout.year
            else {},
            actual=count_labels_with_images(parts) | _image_counts(counts),
            bounds=bounds,
            declared={name: declared[name] for name in labels.names},
            left_out=left_out.labels,
            findings=(*grouping, *(finding for file in files.values() for finding in file.findings)),
        )


def _samples(root: Path, layout: Layout, split: str, file: CocoFile, labels: Labels, left_out: LeftOut) -> list[Sample]:
    """The images of one annotation file; `left_out` receives those without a file, and repeated entries."""
    column = {name: index for index, name in enumerate(labels.names)}
    place = locate(root, file.file, layout.parts[split].images, [image.path for image in file.images])
    existing = set(relative_paths(place.folder))
    entries: dict[str, list[CocoImage]] = {}
    for image in file.images:
        entries.setdefault(place.inside(image.path), []).append(image)
    _refuse_contradictions(file.file, entries)
    samples: list[Sample] = []
    for inside, (first, *others) in entries.items():
        left_out.labels[REPEATED] += [_columns(image, column) for image in others]
        path = place.folder / inside
        short = path.relative_to(root) if path.is_relative_to(root) else path
        name = path.stem if layout.year else short.as_posix()
        boxes = rank_boxes((area, column[label], corners) for area, label, corners in file.boxes(first))
        sample = Sample(name, path, _columns(first, column), name, boxes)
        if inside in existing:
            samples.append(sample)
        else:
            left_out.add(MISSING, name, f"missing file {path}", sample.positives)
    return samples


def _columns(image: CocoImage, column: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sorted(column[name] for name in image.labels))


def _refuse_contradictions(file: Path, entries: Mapping[str, Sequence[CocoImage]]) -> None:
    differing = []
    for path, images in entries.items():
        if len({image.labels for image in images}) > 1:
            described = [f"id {image.id}: {', '.join(sorted(image.labels)) or 'no label'}" for image in images]
            differing.append(f"{path} ({'; '.join(described)})")
    if differing:
        raise ValueError(
            f"{file}: expected one entry of images for every file, got {len(differing)} files in several entries with "
            f"different labels: {', '.join(differing[:SHOWN])}; if they are different images, add their folders to "
            "file_name, else merge their entries"
        )


def _labels(files: Sequence[CocoFile]) -> tuple[Labels, tuple[Finding, ...]]:
    """The categories of all files, which have to agree, without those that only group others."""
    first = files[0]
    for other in files[1:]:
        if set(other.categories) != set(first.categories):
            differing = sorted(set(other.categories) ^ set(first.categories))
            raise ValueError(
                f"{other.file}: expected the categories of {first.file.name}, got others: "
                f"{', '.join(differing[:SHOWN])} in only one of them; use files of one release"
            )
    used = {name for file in files for name in file.counts}
    parents = {name for file in files for name in file.parents} & set(first.categories) - used
    names = tuple(name for name in first.categories if name not in parents)
    if not names:
        raise ValueError(f"{first.file}: expected categories, got none; export the file with its categories")
    claim = "Categories that only group others and have no annotation are not used as labels."
    findings = (Finding(claim, f"{', '.join(sorted(parents))}.", note=True),) if parents else ()
    return Labels(names), findings


def _image_counts(parts: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for part, (images, with_objects) in parts.items():
        counts |= {f"images in {part}": images, f"images with objects in {part}": with_objects}
    return counts
