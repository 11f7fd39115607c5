"""Lists the files of a user's folder: images, tables, and files that look like labels but are not read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlkd.core.image_kinds import NAMED, UNREAD, image_files, unread_images
from mlkd.data.paths import is_dead_link, relative_paths
from mlkd.data.sources.cells import read_cells, read_lines
from mlkd.data.sources.label_names import read_names
from mlkd.data.sources.tables import SUFFIXES as TABLES

SHOWN = 12  # lines about files
HEAD_BYTES = 100_000  # of a file that are inspected
FEW = 3  # files of one kind in one folder that are listed one by one
NAMES = (".txt", ".names", ".json", ".csv", ".tsv")
NOT_READ = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "spreadsheet, not read: save it as .csv and set table: FILE"),
    **dict.fromkeys((".mat",), "MATLAB, not read: write it as .csv and set table: FILE"),
    **dict.fromkeys((".npy", ".npz"), "NumPy arrays, not read: write them as .csv and set table: FILE"),
    **dict.fromkeys((".parquet", ".pkl", ".h5"), "not read: write it as .csv and set table: FILE"),
}


@dataclass(frozen=True)
class Contents:
    """The files below a folder by kind, sorted."""

    folder: Path
    images: tuple[str, ...]
    tables: tuple[str, ...]
    names: tuple[str, ...]  # files with label names
    others: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Contents:
        """Inspect every file below the folder."""
        kinds: defaultdict[str, list[str]] = defaultdict(list)
        below = sorted(relative_paths(folder))
        images = {str(file) for file in image_files(folder / name for name in below)[0]}
        for name in below:
            suffix = PurePosixPath(name).suffix.lower()
            if is_dead_link(folder / name):
                kinds["others"].append(name)
            elif str(folder / name) in images:
                kinds["images"].append(name)
            elif suffix in NAMES and _has_label_names(folder / name):
                kinds["names"].append(name)
            else:
                kinds["tables" if suffix in TABLES else "others"].append(name)
        return cls(folder, *(tuple(kinds[kind]) for kind in ("images", "tables", "names", "others")))

    def describe(self, exclude: Sequence[str] = ()) -> list[str]:
        """Return a line for every file that is no image, one line for many of a kind in one folder."""
        lines = [f"{name}: {describe_file(self.folder / name)}" for name in self.tables if name not in exclude]
        lines += [f"{name}: looks like label names" for name in self.names if name not in exclude]
        groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for name in self.others:
            if name not in exclude:
                path = PurePosixPath(name)
                groups[str(path.parent), path.suffix.lower()].append(name)
        for (parent, suffix), names in groups.items():
            if len(names) <= FEW:
                lines += [f"{name}: {describe_file(self.folder / name)}" for name in names]
            else:
                kind = describe_file(self.folder / names[0])
                lines.append(f"{parent}/: {len(names)} {suffix or 'files without a suffix'}, the first: {kind}")
        return lines[:SHOWN] + ([f"… {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])


def describe_file(file: Path) -> str:
    """Describe the content of a file in a few words."""
    suffix = file.suffix.lower()
    if is_dead_link(file):
        return "a symbolic link to a missing file"
    if suffix in UNREAD:
        return f"images, not supported: {unread_images({suffix: 1}).partition('; ')[2]}"
    readers: dict[str, Callable[[Path], str]] = {
        **dict.fromkeys((".csv", ".tsv"), _table), ".jsonl": _lines, ".txt": _lines, ".json": _json, ".xml": _xml,
    }  # fmt: skip
    try:
        return readers[suffix](file) if suffix in readers else NOT_READ.get(suffix, "not read")
    except (ValueError, OSError) as cause:
        return f"cannot be read ({cause})"


def _table(file: Path) -> str:
    cells = read_cells(file)
    more = ", …" if len(cells.header) > 8 else ""
    rows = len(cells.records) + len(cells.bad)
    return f"table, {rows} rows, columns {', '.join(cells.header[:8]) or 'none'}{more}"


def _lines(file: Path) -> str:
    lines = [line for line in read_lines(file) if line.strip()]
    what, advice = ("JSON lines", "") if file.suffix == ".jsonl" else ("text", "; not read: save a table as .csv")
    return f"{what}, {len(lines)} lines, the first: {lines[0][:60] if lines else 'none'}{advice}"


def _json(file: Path) -> str:
    head = _head(file)
    if all(f'"{key}"' in head for key in ("images", "file_name")) or '"annotations"' in head:
        return "looks like COCO annotations: use a recipe with data: {kind: coco}"
    return "JSON, not read: write a table and set table: FILE"


def _xml(file: Path) -> str:
    if "<annotation" in _head(file):
        return "looks like VOC annotations: use a recipe with data: {kind: voc}"
    return "XML, not read: write a table and set table: FILE"


def _head(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(HEAD_BYTES).decode("utf-8", errors="replace")


def _has_label_names(file: Path) -> bool:
    """Whether the file maps numbers to names, or is a list of names whose file name says so."""
    if file.stat().st_size > HEAD_BYTES:
        return False
    try:
        names = read_names(file)
    except (ValueError, OSError):
        return False
    values = list(names.values()) if isinstance(names, dict) else names
    if len(values) < 2 or any(PurePosixPath(value.split(",")[0]).suffix.lower() in NAMED for value in values):
        return False
    if isinstance(names, dict):
        return len(set(values)) == len(values) and not any(re.search(r"[,;\t]", value) for value in values)
    is_named_so = re.search(r"class|label|name|categor", file.stem.lower()) or file.suffix.lower() == ".names"
    return bool(is_named_so) and file.suffix.lower() not in TABLES and len(set(values)) == len(values)
