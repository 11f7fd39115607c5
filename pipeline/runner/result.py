"""Results on disk: the folder of a stage is complete or absent, and its stage.json describes it."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlkd.core.files import fsync, sha256_of, write_file
from mlkd.core.json_text import parse_json
from pipeline.runner.circumstances import made_with

FINISHED = "stage.json"
STARTED = "identity.json"


@dataclass(frozen=True)
class Result:
    """A finished stage: its identity, a hash over the files that readers depend on, and every file."""

    identity: dict[str, Any]
    content: str
    seconds: float
    files: dict[str, dict[str, Any]]  # path in the folder -> {"sha256", "bytes"}
    made_with: dict[str, Any] = field(default_factory=dict)  # on which the last bits depend, and nothing else

    def __post_init__(self) -> None:
        """Raise ValueError for content that `finish` does not write."""
        facts, files = (self.identity, self.files, self.made_with), self.files
        written = all(isinstance(fact, dict) for fact in facts) and isinstance(self.content, str)
        written = written and isinstance(self.seconds, int | float) and all(map(_is_entry, files.values()))
        if not written:
            raise ValueError(f"{FINISHED}: expected identity, content, seconds and files, got others")

    @property
    def bytes(self) -> int:
        """Total size of the files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def content_without(self, unread: Collection[str]) -> str:
        """Return the content for a reader that does not depend on files that match a pattern of `unread`."""
        return digest(_hashes(self.files, unread)) if unread else self.content


def read(folder: Path) -> Result | None:
    """Read the result in `folder`; None if it is missing or invalid."""
    file = folder / FINISHED
    try:
        return _read(file, file.stat().st_mtime_ns, file.stat().st_ino)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@functools.lru_cache(maxsize=64)
def _read(file: Path, _mtime_ns: int, _inode: int) -> Result:
    """Read a result once for all stages that read it; another file has another time or inode."""
    facts = read_json(file)
    if not isinstance(facts, dict):
        raise ValueError(f"{file}: expected an object, got {type(facts).__name__}")
    wanted = {name: facts[name] for name in ("identity", "content", "seconds", "files")}
    return Result(**wanted, made_with=facts.get("made_with", {}))


def damage(folder: Path, result: Result) -> str | None:
    """Describe the first file that is missing or has another size; None if all are as recorded."""
    for path, entry in result.files.items():
        size = _size(f"{folder}/{path}")
        if size is None:
            return f"its file {path} is gone"
        if size != entry["bytes"]:
            return f"its file {path} has {size} bytes instead of {entry['bytes']}"
    return None


def begin(partial: Path, identity: Mapping[str, Any]) -> bool:
    """Prepare `partial` for a stage; True if it holds unfinished work of the same identity."""
    if (partial / STARTED).is_file() and _json(partial / STARTED) == identity:
        return True
    remove(partial)
    partial.mkdir(parents=True)
    write_json(partial / STARTED, identity, sort_keys=True)
    return False


def began(partial: Path) -> int | None:
    """Return when `partial` was created, in ns, which identifies it; None if it does not exist."""
    file = partial / STARTED
    return file.stat().st_mtime_ns if file.is_file() else None


def finish(partial: Path, folder: Path, *, seconds: float, volatile: tuple[str, ...]) -> Result:
    """Write stage.json, flush, and rename `partial` to `folder`; an older result is removed only after that."""
    identity = _json(partial / STARTED)
    for left in partial.rglob("*.partial"):
        left.unlink()  # left by a kill; the file was written again under its own name since
    files = {
        file.relative_to(partial).as_posix(): {"sha256": sha256_of(file), "bytes": file.stat().st_size}
        for file in sorted(partial.rglob("*"))
        if file.is_file() and file != partial / STARTED
    }
    result = Result(identity, digest(_hashes(files, volatile)), round(seconds, 1), files, made_with())
    os.sync()  # one call, because a stage may write thousands of small files
    write_json(partial / FINISHED, asdict(result), sort_keys=True)
    swap(partial, folder)
    return result


def swap(partial: Path, folder: Path) -> None:
    """Replace `folder` by the finished `partial`; `recover` repairs the state after a kill in between."""
    old = _old(folder)
    remove(old)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    (folder / STARTED).unlink(missing_ok=True)
    fsync(folder.parent)
    remove(old)


def recover(partial: Path, folder: Path) -> None:
    """Complete or undo an interrupted `swap`."""
    if read(partial) is not None:
        swap(partial, folder)
    elif _old(folder).exists() and not folder.exists():
        _old(folder).rename(folder)
    remove(_old(folder))


def digest(value: Any) -> str:
    """sha256 of the value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


NOTHING = digest({})  # the content for a reader that depends on no file


def read_json(file: Path) -> Any:
    """Read a JSON file.  Raises ValueError that names it."""
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise ValueError(
            f"{file}: expected JSON, got {cause}; remove it and rerun the command that writes it"
        ) from None


def write_json(file: Path, value: Any, *, indent: int | None = 1, sort_keys: bool = False) -> None:
    """Write a JSON file, whole or not at all."""
    write_file(file, json.dumps(value, indent=indent, sort_keys=sort_keys) + "\n")


def remove(folder: Path) -> None:
    """Delete a folder that may not exist; stage.json first, so that a rest is never taken for a result."""
    for name in (FINISHED, STARTED):
        (folder / name).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _is_entry(entry: object) -> bool:
    """Whether it is the hash and the size of a file."""
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and type(entry.get("bytes")) is int


def _hashes(files: Mapping[str, Mapping[str, Any]], ignored: Collection[str]) -> dict[str, str]:
    """The hashes of all files but those that match a pattern."""
    return {path: f["sha256"] for path, f in files.items() if not any(fnmatch.fnmatch(path, v) for v in ignored)}


def _size(file: str) -> int | None:
    """Return the size of a file, None if there is none; a text, because there may be ten thousands."""
    try:
        status = os.stat(file)  # noqa: PTH116  (a Path takes three times as long)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError:
        return None
