"""Where the annotation files in COCO's form and their images lie, as COCO and labelling tools lay them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlkd.data.base import is_file
from mlkd.data.sources.coco_file import parts_of_path

YEARS = ("2014", "2017")
# CVAT, Datumaro; Roboflow; FiftyOne; Label Studio
PATTERNS = (
    "annotations/instances_*.json",
    "_annotations.coco.json",
    "*/_annotations.coco.json",
    "labels.json",
    "*/labels.json",
    "result.json",
)
SPLIT_OF = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
SAMPLE = 100  # paths by which the folder of the images is found


@dataclass(frozen=True, kw_only=True)
class CocoPart:
    """An annotation file, and the folder from which its file names count; both below the root.

    Without `images` the folder is found: the one that has most of the files.
    """

    annotations: str
    images: str | None = None

    def __post_init__(self) -> None:
        for name in ("annotations", "images"):
            path = getattr(self, name)
            if path is not None and (not path or Path(path).is_absolute() or ".." in Path(path).parts):
                raise ValueError(f"{name}: expected a path below the root, got {path!r}")


@dataclass(frozen=True)
class Layout:
    """The parts by split; `year` is that of a published set, else empty."""

    parts: dict[str, CocoPart] = field(default_factory=dict)
    year: str = ""

    def name(self, split: str) -> str:
        """What the set calls the part."""
        return {"train": "train", "test": "val"}[split] + self.year if self.year else split

    def annotations(self, root: Path, split: str) -> Path:
        """The annotation file of a part.  Raises ValueError where it or the folder of its images is missing."""
        part = self.parts[split]
        file = root / part.annotations
        for needed in (file, *([root / part.images] if part.images else [])):
            if not needed.exists():
                advice = (
                    f"unpack the annotations, train{self.year} and val{self.year} into one folder and name it"
                    if self.year
                    else f"correct data.{split}"
                )
                raise ValueError(f"root: expected {needed}, got none; {advice}")
        return file


def find_layout(root: Path) -> Layout:
    """The parts of COCO 2014 or 2017, or of a tool's export.  Raises ValueError where there is none, or several."""
    for year in YEARS:
        both = {split: f"{name}{year}" for split, name in (("train", "train"), ("test", "val"))}
        parts = {
            split: CocoPart(annotations=f"annotations/instances_{name}.json", images=name)
            for split, name in both.items()
        }
        if any((root / part.annotations).exists() for part in parts.values()):
            return Layout(parts, year)
    files = sorted({file for pattern in PATTERNS for file in root.glob(pattern)})
    names = [file.relative_to(root).as_posix() for file in files]
    splits = {SPLIT_OF.get(_word(file), _word(file)): name for file, name in zip(files, names, strict=True)}
    named = set(splits) <= set(SPLIT_OF.values()) and "train" in splits
    if len(splits) < len(files) or not (named or len(files) == 1):
        raise ValueError(
            f"root: expected one of these in {root}: annotations/instances_train2014.json or _train2017.json, or a "
            f"tool's {', '.join(PATTERNS)}, got {', '.join(names) or 'none'}; name the annotation "
            "files yourself, as in train: {annotations: labels.json, images: data}"
        )
    if len(files) == 1:
        return Layout({"train": CocoPart(annotations=next(iter(splits.values())))})
    if "test" not in splits:
        splits["test"] = splits.pop("val")
    return Layout({split: CocoPart(annotations=splits[split]) for split in ("train", "val", "test") if split in splits})


def _word(file: Path) -> str:
    """What a file or its folder says of the split: of instances_Train.json `train`."""
    word = file.stem.removeprefix("instances_") if file.stem.startswith("instances_") else file.parent.name
    return re.sub(r"[\d_-]+$", "", word.lower())


@dataclass(frozen=True)
class Place:
    """From which folder file names count, and how many of their leading folders are left out."""

    folder: Path
    drop: int

    def inside(self, path: str) -> str:
        """The path of a file below the folder."""
        parts = parts_of_path(path)
        return "/".join(parts[self.drop :] or parts[-1:])


def locate(root: Path, annotations: Path, images: str | None, paths: Sequence[str]) -> Place:
    """The place that has most of the files.

    Names lose leading folders only where no place has the whole paths and the rest still names one file each.  Of
    several equal folders the annotation file's own comes first, then one with the name of its part.
    """
    folders = [root / images] if images else _folders(root, annotations)
    sample = [parts_of_path(path) for path in paths[:: max(1, len(paths) // SAMPLE)]]
    deepest = max((len(parts) for parts in sample), default=1)
    whole = len({parts_of_path(path) for path in paths})
    for drop in range(deepest):
        places = [Place(folder, drop) for folder in folders]
        if drop and len({places[0].inside(path) for path in paths}) < whole:
            break
        found = [sum(is_file(place.folder / place.inside("/".join(parts))) for parts in sample) for place in places]
        if any(found):
            return places[found.index(max(found))]
    return Place(folders[0], 0)


def _folders(root: Path, annotations: Path) -> list[Path]:
    """The annotation file's, and the root and folders up to two levels below it."""
    below = sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir())
    word = _word(annotations)
    below.sort(key=lambda folder: (folder.name.lower() != word, len(folder.parts)))
    return list(dict.fromkeys([annotations.parent, root, *below]))
