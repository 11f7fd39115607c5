"""What is shipped: a folder with a manifest, written whole, verified before a runtime reads it, swapped atomically."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.manifest import SCHEMA, BundleError, EngineEntry, FileEntry, Manifest, check_path
from export.program import build_pyz

__all__ = [
    "SCHEMA", "BundleError", "EngineEntry", "FileEntry", "Manifest", "Parts",
    "build_pyz", "publish", "read_bundle", "recover", "write_bundle",
]  # fmt: skip

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
PROGRAM = "tagger.pyz"
AGAIN = "copy or export the bundle again"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What goes into a bundle: the manifest without its files, and where each file comes from."""

    manifest: Manifest
    sources: Mapping[str, Path]  # path in the bundle -> file to copy


def write_bundle(parts: Parts, out: Path) -> None:
    """Fill the new folder `out` with the files, tagger.pyz, manifest.json and manifest.sha256."""
    for engine in parts.manifest.engines:
        for path in engine.files:
            if path not in parts.sources:
                raise BundleError(f"engine {engine.name}: expected a source for its file {path}, got none")
    out.mkdir(parents=True)
    for path, source in parts.sources.items():
        check_path(path)
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, out / path)
    build_pyz(out / PROGRAM)
    files = {path: _entry(out / path) for path in sorted({*parts.sources, PROGRAM})}
    content = dataclasses.replace(parts.manifest, files=files).to_json().encode()
    (out / MANIFEST).write_bytes(content)
    (out / DIGEST).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n", encoding="ascii")


def read_bundle(folder: Path, *, verify: bool = True) -> Manifest:
    """The manifest of `folder`; raises BundleError if anything in the folder differs from it.

    With `verify=False` names, kinds and the manifest's own hash are still checked, sizes and hashes of the files not.
    """
    manifest = _read_manifest(folder)
    there = _walk(folder) - {MANIFEST, DIGEST}
    for path in sorted(manifest.files.keys() - there):
        raise BundleError(f"{folder / path}: expected a file of the bundle, got none; {AGAIN}")
    for path in sorted(there - manifest.files.keys()):
        raise BundleError(f"{folder / path}: expected only files of the manifest, got this one too; move it away")
    for engine in manifest.engines:
        for path in engine.files:
            if path not in manifest.files:
                raise BundleError(f"engine {engine.name}: expected {path} in the manifest, got no such file; {AGAIN}")
    if verify:
        for path, entry in manifest.files.items():
            _check_file(folder / path, entry)
    return manifest


def publish(built: Path, dist: Path) -> None:
    """Put a copy of the bundle `built` at `dist`; an older bundle there is swapped, anything else is refused."""
    recover(dist)
    read_bundle(built)
    if dist.exists() or dist.is_symlink():
        _check_ours(dist)
    dist.parent.mkdir(parents=True, exist_ok=True)
    new, old = _beside(dist, "new"), _beside(dist, "old")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(built, new)
    read_bundle(new)
    _flush(new)
    if dist.exists():
        dist.rename(old)
    new.rename(dist)
    _sync(dist.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(dist: Path) -> None:
    """Finish what a killed `publish` left: the old bundle goes back if nothing stands in its place."""
    old = _beside(dist, "old")
    if old.is_dir() and not dist.exists():
        old.rename(dist)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(_beside(dist, "new"), ignore_errors=True)


def _check_ours(dist: Path) -> None:
    """Raise BundleError if `dist` holds anything that a bundle's manifest does not list: it is about to be deleted."""
    move = "move it away and run again"
    if dist.is_symlink() or not (dist / MANIFEST).is_file():
        raise BundleError(f"{dist}: expected a bundle (with {MANIFEST}) or nothing, got something else; {move}")
    try:
        known = _read_manifest(dist).files.keys() | {MANIFEST, DIGEST}
        extra = sorted(_walk(dist) - known)
    except BundleError as cause:
        raise BundleError(f"{dist}: expected a bundle of ours to replace, got: {cause}; or {move}") from None
    if extra:
        raise BundleError(f"{dist}: expected only files of the bundle, got also {', '.join(extra[:5])}; {move}")


def _read_manifest(folder: Path) -> Manifest:
    for name in (MANIFEST, DIGEST):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise BundleError(f"{folder / name}: expected a file of the bundle, got none; {AGAIN}")
    content = (folder / MANIFEST).read_bytes()
    expected = (folder / DIGEST).read_bytes()
    got = f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode()
    if expected != got:
        raise BundleError(
            f"{folder / MANIFEST}: expected the sha256 in {DIGEST}, {expected[:12]!r}…, got {got[:12]!r}…; {AGAIN}"
        )
    return Manifest.from_json(content.decode("utf-8"))


def _walk(folder: Path) -> set[str]:
    """Every file below `folder`; raises BundleError on links, pipes and the like."""
    found = set()
    for where, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(where, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "a special file"
                raise BundleError(f"{path}: expected a plain file or folder in the bundle, got {kind}; move it away")
        found |= {Path(where, name).relative_to(folder).as_posix() for name in files}
    return found


def _check_file(file: Path, expected: FileEntry) -> None:
    size = file.stat().st_size
    if size != expected.bytes:
        raise BundleError(f"{file}: expected {expected.bytes} bytes, got {size}; {AGAIN}")
    got = _entry(file).sha256
    if got != expected.sha256:
        raise BundleError(f"{file}: expected sha256 {expected.sha256[:12]}…, got {got[:12]}…; {AGAIN}")


def _entry(file: Path) -> FileEntry:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return FileEntry(sha256=digest.hexdigest(), bytes=file.stat().st_size)


def _beside(dist: Path, what: str) -> Path:
    return dist.parent / f".{dist.name}.{what}"  # the same file system, so that a rename is atomic


def _flush(folder: Path) -> None:
    for where, _, files in os.walk(folder):
        for name in files:
            _sync(Path(where, name))
        _sync(Path(where))


def _sync(path: Path) -> None:
    """Force `path` to the disk; some file systems cannot do that for folders."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
