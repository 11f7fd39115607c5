"""Finds the file of a table's row: as written, with a suffix, in another Unicode form, or the only one of that name."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from mlkd.core.image_kinds import NAMED, image_files
from mlkd.data.paths import is_dead_link, is_file, relative_paths
from mlkd.data.sources.rows import Row


def _normalize(name: str) -> str:
    """Compose letters, use slashes, and remove a leading ./"""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in NAMED else name


# From exact to loose: a row means the files that have the same key, by the first of these that matches any file.
KEYS: tuple[Callable[[str], str], ...] = (
    _normalize,
    lambda name: _normalize(name).lower(),
    lambda name: _without_suffix(_normalize(name)),
    lambda name: PurePosixPath(_normalize(name)).name,
    lambda name: _without_suffix(PurePosixPath(_normalize(name)).name),
)


class FileNames:
    """Index of the images below a folder, by the names that a table may use for them."""

    def __init__(self, root: Path, suffix: str = "") -> None:
        self.root, self.suffix = root, suffix

    def find(self, name: str) -> list[str]:
        """Return the paths below the root that `name` can mean: none, one, or several that match equally well."""
        exact = f"{name}{self.suffix}"
        if is_file(self.root / exact):
            return [exact]
        for key, index in zip(KEYS, self._indices, strict=True):
            files = index.get(key(exact))
            if files:
                return files
        return []

    @cached_property
    def _indices(self) -> list[dict[str, list[str]]]:
        """Needed only if a name is not the exact path of a file."""
        images, _ = image_files(self.root / name for name in relative_paths(self.root))
        names = [image.relative_to(self.root).as_posix() for image in images if is_file(image)]
        indices: list[dict[str, list[str]]] = [{} for _ in KEYS]
        for key, index in zip(KEYS, indices, strict=True):
            for name in names:
                index.setdefault(key(name), []).append(name)
        return indices


def resolve_files(
    rows: Sequence[Row], names: FileNames, path: Path
) -> tuple[list[Row], dict[str, str], tuple[str, ...]]:
    """Replace the file of every row of a table by the path of its image below the root.

    Returns the rows whose image exists; by name, why the others have none; and warnings.  Raises ValueError if a name
    matches several images.
    """
    resolved, missing, loose, forms = [], {}, [], set[tuple[str, ...]]()
    for row in rows:
        files = names.find(row.file)
        if len(files) > 1:
            suffix = Path(files[0]).suffix
            raise ValueError(
                f"{path}, line {row.line}: expected one file named {row.file!r}, got {', '.join(sorted(files)[:5])}; "
                f"set suffix: {suffix}, or set root: FOLDER, to which the names are relative"
            )
        if files:
            resolved.append(replace(row, file=files[0]))
            loose += [f"{row.file} is {files[0]}"] if files[0] != f"{row.file}{names.suffix}" else []
            forms.add(tuple(files[0].split(row.file, 1)) if row.file in files[0] else (files[0],))
        else:
            link = " (a symbolic link to a missing file)" if is_dead_link(names.root / row.file) else ""
            missing[row.file] = f"missing file {names.root / row.file}{link}"
    # One form: all names lack the same folder or suffix, or nothing, which is a convention and no mistake.
    inexact = f"{path}: {len(loose)} names are not exact file names, the first: {loose[0]}" if len(forms) > 1 else ""
    return resolved, missing, (inexact,) if inexact else ()
