"""Sets in COCO's form: COCO 2014 and 2017 in their official layouts, and exports of labelling tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import Finding, Listing, Sample, fingerprint_files, fingerprint_names, names_below
from mlkd.data.sources.coco_file import CocoFile, CocoImage, boxes_of, read_coco_file
from mlkd.data.sources.coco_layout import CocoPart, Layout, find_layout, locate
from mlkd.data.sources.published import LABELS, labels_with_images
from mlkd.data.splits import CARVED, carve, check_val_share, held_out

# Papers on 2014 report 82,081 and 40,137 images: those with an object.  The others are kept, without labels.
PUBLISHED = {
    "2014": {
        "images in train2014": 82_783,
        "images with objects in train2014": 82_081,
        "images in val2014": 40_504,
        "images with objects in val2014": 40_137,
        LABELS: 80,
    },
    "2017": {
        "images in train2017": 118_287,
        "images with objects in train2017": 117_266,
        "images in val2017": 5_000,
        "images with objects in val2017": 4_952,
        LABELS: 80,
    },
}
LATER = {"identity": "unless default"}
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Coco:
    """Annotation files in COCO's form, and the images that they name.

    Without `train` the layout is found: COCO 2014 or 2017, whose val is the test set, or what CVAT (COCO 1.0), Label
    Studio, FiftyOne and Roboflow export.  Where no part is val, a share of train becomes it, by hash of the name, fair
    to rare labels; where train is the only part, it is dealt 70/10/20.  Labels are the categories in the order of their
    ids, without those that only group others.  Crowds (iscrowd) count as positive, their boxes as objects.
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

    def needs_fetch(self) -> bool:
        """Never: the images are the user's."""
        return False

    def _layout(self) -> Layout:
        given = {"train": self.train, "val": self.val, "test": self.test}
        parts = {split: part for split, part in given.items() if part is not None}
        return Layout(parts) if parts else find_layout(self.root)

    def fingerprint(self) -> str:
        """Sizes of the annotations and names of the images."""
        layout = self._layout()
        annotations = [layout.annotations(self.root, split) for split in layout.parts]
        folders = [self.root / part.images if part.images else self.root for part in layout.parts.values()]
        return fingerprint_files(annotations, self.root)[:32] + fingerprint_names(*dict.fromkeys(folders))[:32]

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the images; one whose file is missing is skipped and named."""
        layout = self._layout()
        files: dict[str, CocoFile] = {}
        for done, split in enumerate(layout.parts):
            progress("annotations", done, len(layout.parts))
            files[split] = read_coco_file(layout.annotations(self.root, split))
        labels, grouping = _labels(list(files.values()))
        parts = {split: _Part(self.root, layout, split, file, labels) for split, file in files.items()}
        declared = sum((file.counts for file in files.values()), Counter[str]())
        bounds = () if "val" in parts else held_out(self.val_share) if "test" in parts else CARVED
        listed = {split: part.samples for split, part in parts.items()}
        return Listing(
            labels,
            {"train": [], "val": [], "test": []} | listed | (carve(listed["train"], bounds) if bounds else {}),
            f"COCO {layout.year}" if layout.year else f"COCO annotations of {self.root}",
            ("CC-BY 4.0 (annotations)", "Flickr terms of use (images)") if layout.year else (),
            skipped={name: cause for part in parts.values() for name, cause in part.skipped.items()},
            published=len(parts) > 1,
            expected=PUBLISHED.get(layout.year, {}),
            found=_counts(layout, listed),
            bounds=bounds,
            declared={name: declared[name] for name in labels.names},
            left_out={
                reason: [columns for part in parts.values() for columns in part.left_out[reason]]
                for reason in (MISSING, REPEATED)
            },
            findings=(*grouping, *(finding for file in files.values() for finding in file.findings)),
        )


MISSING, REPEATED = "missing file", "repeated entry"


class _Part:
    """The images of one annotation file; what is left out, and why."""

    def __init__(self, root: Path, layout: Layout, split: str, file: CocoFile, labels: Labels) -> None:
        self.root, self.layout = root, layout
        self.column = {name: column for column, name in enumerate(labels.names)}
        self.skipped: dict[str, str] = {}
        self.left_out: dict[str, list[tuple[int, ...]]] = {MISSING: [], REPEATED: []}
        place = locate(root, file.file, layout.parts[split].images, [image.path for image in file.images])
        there = set(names_below(place.folder))
        entries: dict[str, list[CocoImage]] = {}
        for image in file.images:
            entries.setdefault(place.inside(image.path), []).append(image)
        _refuse_contradictions(file.file, entries)
        self.samples: list[Sample] = []
        for inside, (first, *others) in entries.items():
            self.left_out[REPEATED] += [self._columns(image) for image in others]
            sample = self._image(place.folder / inside, first)
            if inside in there:
                self.samples.append(sample)
            else:
                self.left_out[MISSING].append(sample.positives)
                self.skipped[sample.name] = f"missing file {sample.file}"

    def _image(self, file: Path, image: CocoImage) -> Sample:
        inside = file.relative_to(self.root) if file.is_relative_to(self.root) else file
        name = file.stem if self.layout.year else inside.as_posix()
        return Sample(name, file, self._columns(image), name, boxes_of(image, self.column.__getitem__))

    def _columns(self, image: CocoImage) -> tuple[int, ...]:
        return tuple(sorted(self.column[name] for name in image.labels))


def _refuse_contradictions(file: Path, entries: Mapping[str, Sequence[CocoImage]]) -> None:
    differing = {path: images for path, images in entries.items() if len({image.labels for image in images}) > 1}
    if not differing:
        return
    told = [f"{path} ({'; '.join(map(_described, differing[path]))})" for path in list(differing)[:SHOWN]]
    raise ValueError(
        f"{file}: expected one entry of images for every file, got {len(differing)} files in several entries with "
        f"different labels: {', '.join(told)}; if they are different images, write their folders into file_name, else "
        "merge their entries"
    )


def _described(image: CocoImage) -> str:
    return f"id {image.id}: {', '.join(sorted(image.labels)) or 'no label'}"


def _labels(files: Sequence[CocoFile]) -> tuple[Labels, tuple[Finding, ...]]:
    """The categories of all files, which have to agree, without those that have no annotation and only group others."""
    first = files[0]
    for other in files[1:]:
        if set(other.categories) != set(first.categories):
            differing = sorted(set(other.categories) ^ set(first.categories))
            raise ValueError(
                f"{other.file}: expected the categories of {first.file.name}, got others: "
                f"{', '.join(differing[:SHOWN])} in only one of them; take files of one release"
            )
    used = {name for file in files for name in file.counts}
    parents = {name for file in files for name in file.parents} & set(first.categories) - used
    kept = tuple(name for name in first.categories if name not in parents)
    if not kept:
        raise ValueError(f"{first.file}: expected categories, got none; export the file with its categories")
    if not parents:
        return Labels(kept), ()
    claim = "Categories that only group others, without an annotation of their own, are no labels."
    return Labels(kept), (Finding(claim, f"{', '.join(sorted(parents))}.", note=True),)


def _counts(layout: Layout, parts: Mapping[str, Sequence[Sample]]) -> dict[str, int]:
    counts = {LABELS: labels_with_images(parts)}
    for split, samples in parts.items():
        part = layout.name(split)
        counts[f"images in {part}"] = len(samples)
        counts[f"images with objects in {part}"] = sum(bool(sample.positives) for sample in samples)
    return counts
