"""Looks at a user's folder of pictures: where its table is, what it says, and what is wrong."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlkd.data.base import SOURCE_SPLITS, names_below
from mlkd.data.tables import Row, Table, read_table
from mlkd.image_kinds import SUFFIXES
from mlkd.images import UnreadablePicture, decode

TABLES = (".csv", ".jsonl")
PREFERRED = ("tags.csv", "tags.jsonl")
FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_path", "path", "picture", "photo")
BETWEEN = ";"  # tags, where nothing else is seen or said
LOOKED_AT = 200  # pictures that are decoded, evenly spread
LEAST_PICTURES = 10  # without which no three splits can be made
LEAST_POSITIVES = 3  # of some label: one for each of train, val and test
FEW = 10  # positives below which a label is hardly learnt


@dataclass(frozen=True)
class Survey:
    """What was found: the fields of a `Folder`, the table's rows whose file is there, and what to tell the user."""

    root: Path
    tags: str
    file_column: str
    delimiter: str
    table: Table
    rows: tuple[Row, ...]
    positives: Counter[str]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    looked_at: int
    not_in_table: int

    def lines(self) -> list[str]:
        """The findings, warnings last."""
        names = [f"{name} {count}" for name, count in self.positives.most_common()]
        few = {name: self.positives[name] for name in self.table.labels if self.positives[name] < FEW}
        rare = sorted(few, key=lambda name: (few[name], name))
        facts = [
            f"{self.root}: {len(self.rows)} pictures by {self.tags} (form {self.table.form}), "
            f"{len(self.table.labels)} labels",
            f"labels a picture: {_histogram(self.rows)}",
            f"pictures of each label: {_shortened(names, ', ', 20)}",
        ]
        told = {
            "labels hold a comma; if that is two tags, write ; between them: ": [
                name for name in self.table.labels if "," in name
            ],
            f"labels with fewer than {FEW} pictures, hardly learnt: ": [f"{name} {few[name]}" for name in rare],
            "rows of the table without a file: ": list(self.missing),
            f"pictures that cannot be read, of {self.looked_at} looked at: ": list(self.unreadable),
        }
        facts += [f"warning: {len(found)} {text}{_shortened(found, '; ', 10)}" for text, found in told.items() if found]
        if not self.unreadable:
            facts.append(f"all of {self.looked_at} pictures looked at can be read")
        if self.not_in_table:
            facts.append(f"{self.not_in_table} more pictures are not in the table; the recipe says how to use them")
        return facts


def survey(folder: Path, delimiter: str | None = None) -> Survey:
    """Read the folder's table and look at its pictures; `delimiter` None: as the tags look.  Raises ValueError."""
    if not folder.is_dir():
        raise ValueError(f"folder: expected one with pictures, got nothing at {folder.absolute()}; check the path")
    folder = folder.absolute()
    path = find_table(folder)
    file_column, seen = _columns(path)
    delimiter = delimiter or seen
    table = read_table(path, file_column=file_column, delimiter=delimiter)
    root = _pictures_folder(folder, table)
    missing = {row.file for row in table.rows if not (root / row.file).is_file()}
    rows = tuple(row for row in table.rows if row.file not in missing)
    positives = Counter(tag for row in rows for tag in set(row.tags))
    if len(rows) < LEAST_PICTURES or not positives:
        raise ValueError(
            f"{path}: expected at least {LEAST_PICTURES} pictures and one tag, got {len(rows)} pictures and "
            f"{len(positives)} tags; {len(missing)} of its files are not below {root}"
        )
    _refuse_rare(path, positives)
    sample = rows[:: -(-len(rows) // LOOKED_AT)]
    known = {row.file for row in table.rows}
    others = sum(name not in known and Path(name).suffix.lower() in SUFFIXES for name in names_below(root))
    tags = path.name if root == folder else f"../{path.name}"
    unreadable = tuple(cause for row in sample if (cause := _why_unreadable(root / row.file)))
    return Survey(
        root,
        tags,
        file_column,
        delimiter,
        table,
        rows,
        positives,
        tuple(sorted(missing)),
        unreadable,
        len(sample),
        others,
    )


def find_table(folder: Path) -> Path:
    """tags.csv, tags.jsonl or the folder's only table.  Raises ValueError where there is none, or more than one."""
    found = sorted(file for file in folder.iterdir() if file.suffix in TABLES and file.is_file())
    preferred = [file for file in found if file.name in PREFERRED]
    chosen = preferred or found
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        names = ", ".join(file.name for file in chosen)
        raise ValueError(f"{folder}: expected one table of tags, got {names}; name the right one tags.csv")
    raise ValueError(
        f"{folder}: expected tags.csv or tags.jsonl, or sub-folders with pictures whose names are tags, got neither; "
        "write a table with the columns file,tags"
    )


def tag_by_folders(folder: Path) -> Path | None:
    """Write tags.csv from the names of the folders in which the pictures lie; None where there is a table or no such.

    A picture below animals/birds gets both tags; train, val and test at the top are splits and no tags.
    """
    if not folder.is_dir() or any(file.suffix in TABLES for file in folder.iterdir()):
        return None
    pictures = sorted(Path(name) for name in names_below(folder) if Path(name).suffix.lower() in SUFFIXES)
    split = bool(pictures) and all(name.parts[0] in SOURCE_SPLITS for name in pictures)
    rows = []
    for name in pictures:
        parts = [part.replace(BETWEEN, ",").strip() for part in name.parent.parts]
        rows.append((name.as_posix(), BETWEEN.join(dict.fromkeys(parts[split:])), *parts[:split]))
    if not any(row[1] for row in rows):
        return None
    with (folder / PREFERRED[0]).open("x", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("file", "tags", "split")[: len(rows[0])], *rows])
    return folder / PREFERRED[0]


def _refuse_rare(path: Path, positives: Counter[str]) -> None:
    name, most = positives.most_common(1)[0]
    if most < LEAST_POSITIVES:
        raise ValueError(
            f"{path}: expected a label with at least {LEAST_POSITIVES} pictures, one each to learn from, to choose by "
            f"and to test on, got at most {most} ({name}); tag more pictures"
        )


def _columns(path: Path) -> tuple[str, str]:
    """The column that names the file, and what stands between tags; the usual ones where nothing else is seen."""
    if path.suffix == ".jsonl":
        return _first_of_files(_keys(path)), BETWEEN
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        reader = csv.DictReader(stream)
        names = [name.strip() for name in reader.fieldnames or []]
        texts = [line.get("tags") or "" for line in reader] if "tags" in names else []
    between = Counter(mark for text in texts for mark in ";|" if mark in text)
    return _first_of_files(names), between.most_common(1)[0][0] if between else BETWEEN


def _keys(path: Path) -> list[str]:
    """Of the first object; none where it is no object, which `read_table` will tell with its line."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "{}")
    try:
        tree = json.loads(first)
    except json.JSONDecodeError:
        return []
    return list(tree) if isinstance(tree, dict) else []


def _first_of_files(names: Sequence[str]) -> str:
    return next((name for name in FILE_COLUMNS if name in names), FILE_COLUMNS[0])


def _pictures_folder(folder: Path, table: Table) -> Path:
    """The folder itself, or the one below it from which the table counts its paths."""
    sample = [row.file for row in table.rows[:: max(1, len(table.rows) // 100)]]
    below = sorted(child for child in folder.iterdir() if child.is_dir())
    return max([folder, *below], key=lambda root: sum((root / name).is_file() for name in sample))


def _why_unreadable(file: Path) -> str:
    try:
        decode(file, 64)
    except (UnreadablePicture, OSError) as cause:
        return str(cause)
    return ""


def _histogram(rows: Sequence[Row]) -> str:
    counts = Counter(len(set(row.tags)) for row in rows)
    mean = sum(number * count for number, count in counts.items()) / len(rows)
    return f"{mean:.1f}; " + ", ".join(f"{number}: {counts[number]}" for number in sorted(counts))


def _shortened(texts: Sequence[str], between: str, most: int) -> str:
    more = [f"… {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more])
