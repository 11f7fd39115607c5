"""The bundle: a folder with a manifest, written as a whole, verified before a runtime reads it, replaced atomically."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from export.backends.stamp import precision_of
from export.bundle import signature
from export.bundle.manifest import (
    DIGEST,
    MANIFEST,
    PROGRAM,
    SCHEMA,
    SIGNATURE,
    EngineEntry,
    FileEntry,
    Manifest,
    check_path,
)
from export.bundle.program import build_pyz
from export.errors import BundleError
from mlkd.core.files import fsync, sha256_of

__all__ = [
    "DIGEST", "MANIFEST", "PROGRAM", "SCHEMA", "SIGNATURE", "BundleError", "EngineEntry", "FileEntry", "Manifest",
    "Parts", "beside", "build_pyz", "parts_of", "publish", "read_bundle", "recover", "swap", "write_bundle",
]  # fmt: skip

AGAIN = "copy or export the bundle again"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The content of a bundle: the manifest without its files, and the source of each file."""

    manifest: Manifest
    sources: Mapping[str, Path]  # path in the bundle -> file to copy


def write_bundle(parts: Parts, out: Path) -> None:
    """Write a bundle to `out`, replacing an older one: the files, tagger.pyz, manifest.json and manifest.sha256.

    If `parts` has no tagger.pyz, as measured before, the program is built from the sources.  Raises BundleError if a
    file of the manifest has no source, or if `out` holds something else than a bundle.
    """
    for owner, path in _used_files(parts.manifest):
        if path not in parts.sources:
            raise BundleError(f"{owner}: expected a source for its file {path}, got none")
    recover(out)
    _check_ours(out)
    new = beside(out, "new")
    new.mkdir(parents=True)
    for path, source in parts.sources.items():
        check_path(path)
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, new / path)
    if PROGRAM not in parts.sources:
        build_pyz(new / PROGRAM)
    (new / PROGRAM).chmod(0o755)
    files = {path: _entry(new / path) for path in sorted({*parts.sources, PROGRAM})}
    manifest = dataclasses.replace(parts.manifest, files=files)
    _check_thresholds(new, manifest)
    content = manifest.to_json().encode()
    (new / MANIFEST).write_bytes(content)
    (new / DIGEST).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n", encoding="ascii")
    swap(new, out)


def parts_of(folder: Path) -> Parts:
    """The content of an existing bundle, its program included, for writing it again with something added."""
    manifest = read_bundle(folder)
    return Parts(manifest=manifest, sources={path: folder / path for path in manifest.files})


def read_bundle(folder: Path, *, verify: bool = True, key: Path | None = None) -> Manifest:
    """Read the manifest of a bundle and verify the folder.

    Args:
        folder: The bundle.
        verify: Whether to check sizes and hashes of the files; names and the manifest's own hash always are.
        key: A public key that must have signed the manifest.

    Raises:
        BundleError: Anything in the folder differs from the manifest, or the signature is missing or wrong.
    """
    if key is not None:
        signature.verify(folder, key)
    manifest = _read_manifest(folder)
    actual = _list_files(folder) - {MANIFEST, DIGEST, SIGNATURE}
    for path in sorted(manifest.files.keys() - actual):
        raise BundleError(f"{folder / path}: expected a file of the bundle, got none; {AGAIN}")
    for path in sorted(actual - manifest.files.keys()):
        raise BundleError(f"{folder / path}: expected only files of the manifest, got this one too; move it away")
    for owner, path in (*_used_files(manifest), ("the bundle", PROGRAM)):
        if path not in manifest.files:
            raise BundleError(f"{owner}: expected {path} in the manifest, got no such file; {AGAIN}")
    if verify:
        _check_files(folder, manifest.files)
    _check_thresholds(folder, manifest)
    return manifest


def publish(built: Path, dist: Path) -> None:
    """Copy the bundle `built` to `dist`, replacing an older bundle atomically; BundleError for anything else there."""
    recover(dist)
    _check_ours(dist)
    new = beside(dist, "new")
    dist.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(built, new, symlinks=True)  # links are kept as links, and refused
    read_bundle(new)
    swap(new, dist)


def recover(dist: Path) -> None:
    """Clean up after a killed `publish` or `write_bundle`; the old bundle is restored if no new one took its place."""
    old = beside(dist, "old")
    if old.is_dir() and not dist.exists():
        old.rename(dist)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(beside(dist, "new"), ignore_errors=True)


def _used_files(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Every file that the manifest refers to, with what needs it."""
    for engine in manifest.engines:
        for path in (*engine.files, engine.graph):
            yield f"engine {engine.name}", path
    for path in (*manifest.golden, manifest.golden_expected):
        yield "golden images", path


def _check_ours(dist: Path) -> None:
    """Raise BundleError if `dist`, which is about to be deleted, holds anything that is not of a bundle."""
    move = "move it away and rerun"
    if not dist.exists() and not dist.is_symlink():
        return
    if dist.is_symlink() or not (dist / MANIFEST).is_file():
        raise BundleError(f"{dist}: expected a bundle (with {MANIFEST}) or nothing, got something else; {move}")
    try:
        known = _read_manifest(dist).files.keys() | {MANIFEST, DIGEST, SIGNATURE}
        extra = sorted(_list_files(dist) - known)
    except BundleError as cause:
        raise BundleError(f"{dist}: expected a bundle of ours to replace, got: {cause}; or {move}") from None
    if extra:
        raise BundleError(f"{dist}: expected only files of the bundle, got also {', '.join(extra[:5])}; {move}")


def swap(new: Path, dist: Path) -> None:
    """Replace `dist` by the folder `new` beside it; `recover` cleans up if the process is killed here."""
    old = beside(dist, "old")
    flush(new)
    if dist.exists():
        dist.rename(old)
    new.rename(dist)
    fsync(dist.parent)
    shutil.rmtree(old, ignore_errors=True)


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
    return Manifest.from_json(content)


def _list_files(folder: Path) -> set[str]:
    """Relative paths of all files below `folder`; BundleError for links, pipes and other special files."""
    paths = set()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "a special file"
                raise BundleError(f"{path}: expected a plain file or folder in the bundle, got {kind}; move it away")
        paths |= {Path(parent, name).relative_to(folder).as_posix() for name in files}
    return paths


def _check_thresholds(folder: Path, manifest: Manifest) -> None:
    """Raise BundleError unless each engine's thresholds were tuned on it, or on its graph in the same precision."""
    manifest.check_thresholds()
    for entry in manifest.engines:
        if entry.thresholds_sha256 == manifest.files[entry.file].sha256:
            continue
        got = precision_of(folder / entry.graph)
        if got != entry.precision:
            raise BundleError(
                f"engine {entry.name}: thresholds: expected those of {entry.precision}, got those of {entry.graph}, "
                f"which is {got}; thresholds hold for one engine: export the bundle again"
            )


def _check_files(folder: Path, files: Mapping[str, FileEntry]) -> None:
    with ThreadPoolExecutor() as pool:  # hashing releases Python's lock
        for check in [pool.submit(_check_file, folder / path, entry) for path, entry in files.items()]:
            check.result()


def _check_file(file: Path, expected: FileEntry) -> None:
    size = file.stat().st_size
    if size != expected.bytes:
        raise BundleError(f"{file}: expected {expected.bytes} bytes, got {size}; {AGAIN}")
    got = _entry(file).sha256
    if got != expected.sha256:
        raise BundleError(f"{file}: expected sha256 {expected.sha256[:12]}…, got {got[:12]}…; {AGAIN}")


def _entry(file: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of(file), bytes=file.stat().st_size)


def beside(dist: Path, suffix: str) -> Path:
    """The folder in which the new (`new`) or the replaced (`old`) content of `dist` lies for a moment."""
    return dist.parent / f".{dist.name}.{suffix}"  # the same file system, so that a rename is atomic


def flush(folder: Path) -> None:
    """Flush every file below `folder` to the disk, so that a later rename moves complete files."""
    for parent, _, files in os.walk(folder):
        for path in (*files, "."):
            fsync(Path(parent, path))
