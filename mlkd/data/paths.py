"""File names and file contents, as all sources list, fingerprint and read them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def fingerprint_files(files: Iterable[Path], root: Path) -> str:
    """Hash names below `root`, sizes and modification times of `files`; a missing file counts as size -1."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.parts):  # the order of paths; comparing them is slow
        digest.update(f"{relative_name(file, root)}\0{_size_and_time(str(file))}\n".encode())
    return digest.hexdigest()


def relative_name(file: Path, root: Path) -> str:
    """Return the name of a file relative to `root`, with slashes; raises ValueError for one that is not below it."""
    name, beginning = str(file), f"{root}{os.sep}"
    if name.startswith(beginning):  # much faster than Path.relative_to
        return name[len(beginning) :].replace(os.sep, "/")
    return file.relative_to(root).as_posix()


def fingerprint_folders(*folders: Path) -> str:
    """Hash names, sizes and modification times of all files below the folders; a folder may be missing."""
    digest = hashlib.sha256()
    for folder in folders:
        for name in sorted(relative_paths(folder)):
            digest.update(f"{name}\0{_size_and_time(f'{folder}/{name}')}\n".encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _size_and_time(file: str) -> str:
    """Size in bytes and modification time in ns; a text, because there may be hundreds of thousands of files."""
    try:
        status = os.stat(file)  # noqa: PTH116  (a Path takes three times as long)
    except OSError:
        return "-1"
    return f"{status.st_size}\0{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else "-1"


def relative_paths(folder: Path) -> Iterator[str]:
    """List all files below `folder`, relative to it and with slashes; nothing where the folder is missing.

    Symbolic links to folders are followed, each folder once.
    """
    seen: set[str] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        links = {name for name in folders if (Path(current) / name).is_symlink()}
        folders[:] = [*sorted(set(folders) - links), *sorted(links)]
        inside = Path(current).relative_to(folder).as_posix()
        yield from files if inside == "." else (f"{inside}/{file}" for file in files)


def is_file(path: Path) -> bool:
    """Whether the file exists; False for a name that no file can have."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises for NUL and for names that are too long)


def is_dead_link(path: Path) -> bool:
    """Whether the path is a symbolic link to a missing file."""
    return path.is_symlink() and not path.exists()


def read_text(file: Path, advice: str = "save the file as UTF-8") -> str:
    """Read a file in UTF-8, or in UTF-16 with its mark.  Raises ValueError with the line and the advice."""
    content = file.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        byte = f"byte 0x{content[cause.start]:02x}"
        raise ValueError(f"{file}, line {line}: expected text in UTF-8, got {byte}; {advice}") from None
