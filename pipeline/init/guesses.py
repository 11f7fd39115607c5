"""Guesses how to read a user's folder from its files; an option overrides each guess."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import Any

from mlkd.data.sources.cells import read_cells, read_lines
from mlkd.data.sources.file_names import FileNames
from mlkd.data.sources.folder import Folder
from mlkd.data.sources.separators import other_separator
from mlkd.data.sources.tables import SPLIT_NAMES, tag_texts
from pipeline.init.contents import Contents, describe_file

PREFERRED = ("tags.csv", "tags.jsonl")
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_path", "path", "picture", "photo")
SPLIT_COLUMNS = ("split", "subset", "partition", "set", "usage", "fold")
SEPARATOR = ";"  # between tags, if there is no sign of another
LOOKED_UP = 100  # values of a column that are looked up among the files
NO_LABELS = re.compile(  # sub-folders of this name contain images of all labels
    r"images?|imgs?|photos?|pictures?|jpegimages|jpgs?|pngs?|data|dataset|raw|all|masks?|annotations?|labels?|thumb\w*"
)


def guess_source(contents: Contents, given: Mapping[str, Any]) -> Folder:
    """Guess the keys of the data section that the user has not given.  Raises ValueError that lists the files."""
    root = given.get("root", contents.folder)
    keys = {key: value for key, value in given.items() if key not in ("root", "table")}
    if "table" in given and given.get("labels_from") == "folders":
        raise ValueError("table: expected no table with labels_from: folders, got one; remove one of the two")
    if "table" not in given and (given.get("labels_from") == "folders" or _labels_are_folders(contents)):
        return Folder(root=root, **{**keys, "labels_from": "folders"})
    path = given["table"] if "table" in given else _find_table(contents, root)
    keys["table"] = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    columns = _columns(path)
    if "file_column" not in keys:
        keys["file_column"] = _file_column(columns, FileNames(root, keys.get("suffix", "")))
    if "split_column" not in keys:
        keys["split_column"] = _split_column(columns)
    source = Folder(root=root, **keys)
    if "separator" in keys:
        return source
    return Folder(root=root, **keys, separator=_separator(tag_texts(path, source)))


def _find_table(contents: Contents, root: Path) -> Path:
    """The only table whose rows name existing images, or tags.csv.  Raises ValueError that lists the files."""
    preferred = [name for name in contents.tables if name in PREFERRED]
    if len(preferred) == 1:
        return contents.folder / preferred[0]
    names = FileNames(root)
    matching = [name for name in contents.tables if _names_images(contents.folder / name, names)]
    candidates = matching or list(contents.tables)
    if len(candidates) == 1:
        return contents.folder / candidates[0]
    if candidates:
        lines = "\n".join(f"  {name}: {describe_file(contents.folder / name)}" for name in candidates[:12])
        raise ValueError(
            f"{contents.folder}: expected one table of tags, got {len(candidates)}:\n{lines}\n"
            f"set table: {quote(candidates[0])}, or another of them"
        )
    raise ValueError(_format_no_table(contents))


def _format_no_table(contents: Contents) -> str:
    folders = sorted({PurePosixPath(name).parent.name for name in contents.images if "/" in name})
    shown = ", ".join(folders[:5]) + (", …" if len(folders) > 5 else "")
    below = f" in {len(folders)} sub-folders ({shown})" if folders else ""
    lines = [f"{contents.folder}: expected a table of tags, got none, and {len(contents.images)} images{below}"]
    lines += [f"  {line}" for line in contents.describe()]
    lines.append("write a .csv file with a column file and a column tags, and set table: FILE")
    if len(folders) > 1:
        lines.append("if the names of the sub-folders are the labels, set labels_from: folders")
        names = contents.names[0] if contents.names else "FILE"
        lines.append(f"if they are numbers that have names, also set label_names: {quote(names)}")
    return "\n".join(lines)


def _labels_are_folders(contents: Contents) -> bool:
    """Whether there is no table, and the sub-folders have at least two names that look like words."""
    if contents.tables:
        return False
    parts = [PurePosixPath(name).parts[:-1] for name in contents.images]
    split = bool(parts) and all(part and part[0].lower() in SPLIT_NAMES for part in parts)
    counts = Counter(name for part in parts for name in part[split:])
    single = sum(count == 1 for count in counts.values())
    if len(counts) < 2 or 2 * single > len(counts) or any(NO_LABELS.fullmatch(name.lower()) for name in counts):
        return False
    return all(re.search(r"[^\W\d_]{2}", name) for name in counts)


def _columns(path: Path) -> dict[str, Sequence[str]]:
    """The values of every column; of JSON lines, the texts of the first lines."""
    if not path.is_file():
        raise ValueError(f"{path}: expected a table, got none; set table: FILE")
    if path.suffix.lower() != ".jsonl":
        cells = read_cells(path)
        return {name: cells.column(name) for name in cells.header if name}
    columns: dict[str, list[str]] = {}
    for line in read_lines(path)[:LOOKED_UP]:
        try:
            tree = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            continue  # read_table reports it with its line
        for key, value in tree.items() if isinstance(tree, dict) else ():
            columns.setdefault(key, []).append(value if isinstance(value, str) else "")
    return dict(columns)


def _file_column(columns: Mapping[str, Sequence[str]], names: FileNames) -> str:
    """The column whose values name most images; else one with a usual name."""
    counts = {name: _count_images(values, names) for name, values in columns.items()}
    best = max(counts, key=lambda name: counts[name], default="")
    if best and counts[best]:
        return best
    usual = (name for wanted in FILE_COLUMNS for name in columns if name.lower() == wanted)
    return next(usual, FILE_COLUMNS[0])


def _names_images(path: Path, names: FileNames) -> bool:
    try:
        return any(_count_images(values, names) for values in _columns(path).values())
    except ValueError:
        return False


def _count_images(values: Sequence[str], names: FileNames) -> int:
    """How many different values, of some that are evenly spaced, name an image."""
    return sum(bool(value and names.find(value)) for value in set(values[:: -(-len(values) // LOOKED_UP) or 1]))


def _split_column(columns: Mapping[str, Sequence[str]]) -> str:
    usual = [name for wanted in SPLIT_COLUMNS for name in columns if name.lower() == wanted]
    split = [name for name in usual if all(value.lower() in SPLIT_NAMES for value in columns[name] if value)]
    return next((name for name in split if any(columns[name])), SPLIT_COLUMNS[0])


def _separator(texts: Sequence[str]) -> str:
    counts = Counter(mark for text in texts for mark in ";|" if mark in text)
    usual = counts.most_common(1)[0][0] if counts else SEPARATOR
    return other_separator(set(texts), usual) or usual
