"""How a user's folder is to be read, from what lies in it: every guess can be told instead."""

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
from pipeline.init.contents import Contents, described

PREFERRED = ("tags.csv", "tags.jsonl")
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_path", "path", "picture", "photo")
SPLIT_COLUMNS = ("split", "subset", "partition", "set", "usage", "fold")
BETWEEN = ";"  # tags, where nothing else is seen or told
LOOKED_UP = 100  # values of a column that are looked for among the files
NO_LABELS = re.compile(  # sub-folders of this name hold images of all labels
    r"images?|imgs?|photos?|pictures?|jpegimages|jpgs?|pngs?|data|dataset|raw|all|masks?|annotations?|labels?|thumb\w*"
)


def guess(contents: Contents, told: Mapping[str, Any]) -> Folder:
    """The source for a folder, from the keys that were told and guesses for the others.  Raises ValueError."""
    root = told.get("root", contents.folder)
    keys = {key: value for key, value in told.items() if key not in ("root", "table")}
    if "table" in told and told.get("labels_from") == "folders":
        raise ValueError("table: expected none beside labels_from: folders, got one; leave one of the two out")
    if "table" not in told and (told.get("labels_from") == "folders" or _labels_are_folders(contents)):
        return Folder(root=root, **{**keys, "labels_from": "folders"})
    path = told["table"] if "table" in told else find_table(contents, root)
    keys["table"] = _from(path, root)
    columns = _columns(path)
    if "file_column" not in keys:
        keys["file_column"] = _file_column(columns, FileNames(root, keys.get("suffix", "")))
    if "split_column" not in keys:
        keys["split_column"] = _split_column(columns)
    source = Folder(root=root, **keys)
    if "separator" in keys:
        return source
    return Folder(root=root, **keys, separator=_separator(tag_texts(path, source)))


def find_table(contents: Contents, root: Path) -> Path:
    """The only table whose rows name images that are there, or tags.csv.  Raises ValueError that lists the files."""
    preferred = [name for name in contents.tables if name in PREFERRED]
    if len(preferred) == 1:
        return contents.folder / preferred[0]
    names = FileNames(root)
    fitting = [name for name in contents.tables if _names_images(contents.folder / name, names)]
    chosen = fitting or list(contents.tables)
    if len(chosen) == 1:
        return contents.folder / chosen[0]
    if chosen:
        listed = "\n".join(f"  {name}: {described(contents.folder / name)}" for name in chosen[:12])
        raise ValueError(
            f"{contents.folder}: expected one table of tags, got {len(chosen)}:\n{listed}\n"
            f"say table: {quote(chosen[0])}, or another of them"
        )
    raise ValueError(_without_table(contents))


def _without_table(contents: Contents) -> str:
    folders = sorted({PurePosixPath(name).parent.name for name in contents.images if "/" in name})
    shown = ", ".join(folders[:5]) + (", …" if len(folders) > 5 else "")
    below = f" in {len(folders)} sub-folders ({shown})" if folders else ""
    lines = [f"{contents.folder}: expected a table of tags, got none, and {len(contents.images)} images{below}"]
    lines += [f"  {line}" for line in contents.described()]
    lines.append("write a .csv anywhere with a column file and a column tags, and say table: FILE")
    if len(folders) > 1:
        lines.append("if the names of the sub-folders are the labels, say labels_from: folders")
        names = contents.names[0] if contents.names else "FILE"
        lines.append(f"and if they are numbers that have names, say label_names: {quote(names)} as well")
    return "\n".join(lines)


def _labels_are_folders(contents: Contents) -> bool:
    """True where there is no table, and the sub-folders have at least two names that look like words."""
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
    """Every column's values; of JSON lines the texts of the first ones."""
    if not path.is_file():
        raise ValueError(f"{path}: expected a table, got none; say table: FILE")
    if path.suffix.lower() != ".jsonl":
        cells = read_cells(path)
        return {name: cells.column(name) for name in cells.header if name}
    columns: dict[str, list[str]] = {}
    for line in read_lines(path)[:LOOKED_UP]:
        try:
            tree = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            continue  # the reader names it with its line
        for key, value in tree.items() if isinstance(tree, dict) else ():
            columns.setdefault(key, []).append(value if isinstance(value, str) else "")
    return dict(columns)


def _file_column(columns: Mapping[str, Sequence[str]], names: FileNames) -> str:
    """The column whose values name most images; else one that is called so."""
    found = {name: _images_named(values, names) for name, values in columns.items()}
    best = max(found, key=lambda name: found[name], default="")
    if best and found[best]:
        return best
    usual = (name for wanted in FILE_COLUMNS for name in columns if name.lower() == wanted)
    return next(usual, FILE_COLUMNS[0])


def _names_images(path: Path, names: FileNames) -> bool:
    try:
        return any(_images_named(values, names) for values in _columns(path).values())
    except ValueError:
        return False


def _images_named(values: Sequence[str], names: FileNames) -> int:
    """How many different values, of some that are evenly spread, name a file."""
    return sum(bool(value and names.find(value)) for value in set(values[:: -(-len(values) // LOOKED_UP) or 1]))


def _split_column(columns: Mapping[str, Sequence[str]]) -> str:
    usual = [name for wanted in SPLIT_COLUMNS for name in columns if name.lower() == wanted]
    split = [name for name in usual if all(value.lower() in SPLIT_NAMES for value in columns[name] if value)]
    return next((name for name in split if any(columns[name])), SPLIT_COLUMNS[0])


def _separator(texts: Sequence[str]) -> str:
    between = Counter(mark for text in texts for mark in ";|" if mark in text)
    seen = between.most_common(1)[0][0] if between else BETWEEN
    return other_separator(set(texts), seen) or seen


def _from(path: Path, root: Path) -> str:
    """The table as the recipe names it: below the root, or absolute."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
