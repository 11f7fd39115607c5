"""Finds annotation files in COCO's format and their images, in the layouts of COCO and of labelling tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlkd.data.paths import is_file
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
SAMPLED = 100  # paths that are looked up to find the folder of the images


@dataclass(frozen=True, kw_only=True)
class CocoPart:
    """An annotation file, and the folder to which its file names are relative; both below the root.

    Without `images` the folder that has most of the files is used.
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
    """The parts of a data set by split; `year` is that of a published set, else empty."""

    parts: dict[str, CocoPart] = field(default_factory=dict)
    year: str = ""

    def name(self, split: str) -> str:
        """Return the part's name in the data set."""
        return {"train": "train", "test": "val"}[split] + self.year if self.year else split

    def annotations(self, root: Path, split: str) -> Path:
        """Return the annotation file of a part.  Raises ValueError if it or the folder of its images is missing."""
        part = self.parts[split]
        file = root / part.annotations
        for needed in (file, *([root / part.images] if part.images else [])):
            if not needed.exists():
                advice = f"correct data.{split}"
                if self.year:
                    advice = f"unpack the annotations, train{self.year} and val{self.year} into one folder and name it"
                raise ValueError(f"root: expected {needed}, got none; {advice}")
        return file


def find_layout(root: Path) -> Layout:
    """Find COCO 2014 or 2017, or the export of a tool.  Raises ValueError if there is none, or several."""
    for year in YEARS:
        parts = {
            split: CocoPart(annotations=f"annotations/instances_{name}{year}.json", images=f"{name}{year}")
            for split, name in (("train", "train"), ("test", "val"))
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
    """The part's name by its file or folder: for instances_Train.json `train`."""
    word = file.stem.removeprefix("instances_") if file.stem.startswith("instances_") else file.parent.name
    return re.sub(r"[\d_-]+$", "", word.lower())


@dataclass(frozen=True)
class Place:
    """The folder to which file names are relative, and how many of their leading folders are dropped."""

    folder: Path
    drop: int

    def inside(self, path: str) -> str:
        """Return the path of a file below the folder."""
        parts = parts_of_path(path)
        return "/".join(parts[self.drop :] or parts[-1:])


def locate(root: Path, annotations: Path, images: str | None, paths: Sequence[str]) -> Place:
    """Find the place that has most of the files.

    Names lose leading folders only if no folder has the whole paths and the rest still identifies each file.  Among
    equal folders, that of the annotation file comes first, then one with the name of its part.
    """
    folders = [root / images] if images else _folders(root, annotations)
    sample = [parts_of_path(path) for path in paths[:: max(1, len(paths) // SAMPLED)]]
    deepest = max((len(parts) for parts in sample), default=1)
    whole = len({parts_of_path(path) for path in paths})
    for drop in range(deepest):
        places = [Place(folder, drop) for folder in folders]
        if drop and len({places[0].inside(path) for path in paths}) < whole:
            break
        counts = [sum(is_file(place.folder / place.inside("/".join(parts))) for parts in sample) for place in places]
        if any(counts):
            return places[counts.index(max(counts))]
    return Place(folders[0], 0)


def _folders(root: Path, annotations: Path) -> list[Path]:
    """The annotation file's folder, the root, and folders up to two levels below it."""
    below = sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir())
    word = _word(annotations)
    below.sort(key=lambda folder: (folder.name.lower() != word, len(folder.parts)))
    return list(dict.fromkeys([annotations.parent, root, *below]))
