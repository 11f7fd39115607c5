"""Which file a table's row means: as written, with a suffix, in another Unicode form, or the only one of that name."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from mlkd.core.image_kinds import NAMED, image_files
from mlkd.data.base import is_dead_link, names_below
from mlkd.data.sources.rows import Row


def normal(name: str) -> str:
    """Composed letters, slashes, and no ./ in front."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


# From exact to loose: a row means the files that have the same key by the first of these that any file has.
KEYS: tuple[Callable[[str], str], ...] = (
    normal,
    lambda name: normal(name).lower(),
    lambda name: _without_suffix(normal(name)),
    lambda name: PurePosixPath(normal(name)).name,
    lambda name: _without_suffix(PurePosixPath(normal(name)).name),
)


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in NAMED else name


class FileNames:
    """The images below a folder, to be found by what a table calls them."""

    def __init__(self, root: Path, suffix: str = "") -> None:
        self.root, self.suffix = root, suffix
        self._index: list[dict[str, list[str]]] = []

    def find(self, name: str) -> list[str]:
        """The paths below the root that `name` can mean; none, one, or several that fit equally well."""
        exact = f"{name}{self.suffix}"
        if _is_file(self.root / exact):
            return [exact]
        for key, index in zip(KEYS, self._indices(), strict=True):
            found = index.get(key(exact))
            if found:
                return found
        return []

    def _indices(self) -> list[dict[str, list[str]]]:
        """Built once, when a name is not a file as it is."""
        if not self._index:
            images, _ = image_files(self.root / name for name in names_below(self.root))
            names = [image.relative_to(self.root).as_posix() for image in images if _is_file(image)]
            self._index = [_indexed(names, key) for key in KEYS]
        return self._index


def _indexed(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    index: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        index[key(name)].append(name)
    return dict(index)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def resolve(rows: Sequence[Row], names: FileNames, path: Path) -> tuple[list[Row], dict[str, str], tuple[str, ...]]:
    """Rows whose file is there, by its path below the root, why the others were left out, and what to warn of.

    Raises ValueError where a name fits several files.
    """
    found, missing, loose, forms = [], {}, [], set[tuple[str, ...]]()
    for row in rows:
        files = names.find(row.file)
        if len(files) > 1:
            suffix = Path(files[0]).suffix
            raise ValueError(
                f"{path}, line {row.line}: expected one file named {row.file!r}, got {', '.join(sorted(files)[:5])}; "
                f"say suffix: {suffix}, or say root: FOLDER for the folder that the names count from"
            )
        if files:
            found.append(replace(row, file=files[0]))
            loose += [f"{row.file} is {files[0]}"] if files[0] != f"{row.file}{names.suffix}" else []
            forms.add(tuple(files[0].split(row.file, 1)) if row.file in files[0] else (files[0],))
        else:
            link = " (a symbolic link to nothing)" if is_dead_link(names.root / row.file) else ""
            missing[row.file] = f"missing file {names.root / row.file}{link}"
    # Of one form: all that were found lack the same folder or suffix, or nothing.
    if len(forms) <= 1:
        return found, missing, ()
    return found, missing, (f"{path}: {len(loose)} names are not those of files, the first: {loose[0]}",)


def combine(rows: Sequence[Row], path: Path, *, merge: bool) -> tuple[list[Row], tuple[str, ...]]:
    """Every file once: equal rows are one, different ones are merged if told, and what to warn of.

    A label that one row names and another leaves unknown is a tag.  Raises ValueError.
    """
    of_file: dict[str, list[Row]] = {}
    for row in rows:
        of_file.setdefault(row.file, []).append(row)
    repeated = {file: same for file, same in of_file.items() if len(same) > 1}
    different = [same for same in repeated.values() if len({(set_of(row), row.split) for row in same}) > 1]
    if different and not merge:
        first = different[0]
        lines = ", ".join(str(row.line) for row in first[:5])
        raise ValueError(
            f"{path}: expected every file once, got {len(different)} files in several rows with different tags, the "
            f"first: {first[0].file!r} in lines {lines}; say merge_rows: true to give each the tags of all its rows"
        )
    for same in different:
        splits = {row.split for row in same}
        if len(splits) > 1:
            raise ValueError(
                f"{path}, line {same[0].line}: expected {same[0].file!r} in one split, got "
                f"{', '.join(sorted(map(str, splits)))}; say split_column: null to cut the splits anew"
            )
    warnings = (f"{path}: {len(repeated)} files stand in several rows; their tags were merged",) if repeated else ()
    return [_joined(same) for same in of_file.values()], warnings


def set_of(row: Row) -> tuple[frozenset[str], frozenset[str]]:
    """Its tags and unknown labels without their order."""
    return frozenset(row.tags), frozenset(row.unknown)


def _joined(same: Sequence[Row]) -> Row:
    tags = dict.fromkeys(tag for row in same for tag in row.tags)
    unknown = dict.fromkeys(tag for row in same for tag in row.unknown if tag not in tags)
    return replace(same[0], tags=tuple(tags), unknown=tuple(unknown))
