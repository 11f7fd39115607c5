"""What a stage leaves on disk: a folder that is whole or absent, described by the stage.json in it."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlkd.core.files import fsync, sha256_of, write_file

FINISHED = "stage.json"
STARTED = "identity.json"


@dataclass(frozen=True)
class Result:
    """A finished stage: its identity in full, a hash over what its readers depend on, and every file."""

    identity: dict[str, Any]
    content: str
    seconds: float
    files: dict[str, dict[str, Any]]  # path in the folder -> {"sha256", "bytes"}

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())


def read(folder: Path) -> Result | None:
    """The result in `folder`, or None if there is none that can be understood."""
    try:
        facts = read_json(folder / FINISHED)
        return Result(**{name: facts[name] for name in ("identity", "content", "seconds", "files")})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def damage(folder: Path, result: Result) -> str | None:
    """The first file that is gone or has another size, in words; contents are not read."""
    for path, entry in result.files.items():
        file = folder / path
        if not file.is_file():
            return f"its file {path} is gone"
        if file.stat().st_size != entry["bytes"]:
            return f"its file {path} has {file.stat().st_size} bytes instead of {entry['bytes']}"
    return None


def begin(partial: Path, identity: Mapping[str, Any]) -> bool:
    """Make `partial` ready for a stage of this identity; True if it already holds work of an equal one."""
    if (partial / STARTED).is_file() and _json(partial / STARTED) == identity:
        return True
    remove(partial)
    partial.mkdir(parents=True)
    write_file(partial / STARTED, json.dumps(identity, indent=1, sort_keys=True) + "\n")
    return False


def began(partial: Path) -> int | None:
    """When `partial` was begun, in ns: tells it from any other of the same name; None if it is not there."""
    file = partial / STARTED
    return file.stat().st_mtime_ns if file.is_file() else None


def finish(partial: Path, folder: Path, *, seconds: float, volatile: tuple[str, ...]) -> Result:
    """Describe, flush and rename `partial` to `folder`; an older result there goes only when the new one is whole."""
    identity = _json(partial / STARTED)
    for left in partial.rglob("*.partial"):
        left.unlink()  # half a file from a kill; its writer has made it whole under its own name since
    files = {
        file.relative_to(partial).as_posix(): {"sha256": sha256_of(file), "bytes": file.stat().st_size}
        for file in sorted(partial.rglob("*"))
        if file.is_file() and file != partial / STARTED
    }
    lasting = {path: f["sha256"] for path, f in files.items() if not any(fnmatch.fnmatch(path, v) for v in volatile)}
    result = Result(identity, digest(lasting), round(seconds, 1), files)
    os.sync()  # one call: a stage may leave thousands of small files
    write_file(partial / FINISHED, json.dumps(asdict(result), indent=1, sort_keys=True) + "\n")
    swap(partial, folder)
    return result


def swap(partial: Path, folder: Path) -> None:
    """Put the finished `partial` in the place of `folder`; `recover` mends a kill at any point in between."""
    old = _old(folder)
    remove(old)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    (folder / STARTED).unlink(missing_ok=True)
    fsync(folder.parent)
    remove(old)


def recover(partial: Path, folder: Path) -> None:
    """Complete or undo a `swap` that was killed."""
    if read(partial) is not None:
        swap(partial, folder)
    elif _old(folder).exists() and not folder.exists():
        _old(folder).rename(folder)
    remove(_old(folder))


def digest(value: Any) -> str:
    """sha256 of the value's JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_json(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def remove(folder: Path) -> None:
    """Delete a folder that may not exist; its description goes first, so that no remains pass for a whole result."""
    for name in (FINISHED, STARTED):
        (folder / name).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError:
        return None
