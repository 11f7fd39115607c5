"""Installs bundles on a device: versions side by side, a link to the current one and one to the previous one.

The folder has versions/NAME, each a whole bundle, and the links `current` and `previous`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from export.backends.base import NO_ROOM
from export.bundle.bundle import DIGEST, MANIFEST, PROGRAM, SIGNATURE, flush, read_bundle
from export.bundle.manifest import FileEntry, Manifest
from export.errors import BundleError
from export.tagger.lock import locked
from export.tagger.selftest_process import self_test
from mlkd.core.files import fsync, sha256_of

VERSIONS, CURRENT, PREVIOUS, LOCK = "versions", "current", "previous", ".lock"
NEW, OLD = ".new", ".old"  # beside the versions: one that is being written, one that is being removed
NAME = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{8})?")

Check = Callable[[Path, Path | None], None]  # raises BundleError for a bundle that must not be used


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The current version and the one before, and how many files were copied or shared with that."""

    version: str
    was: str | None
    copied: int = 0
    shared: int = 0


def install(bundle: Path, to: Path, *, key: Path | None = None, check: Check = self_test) -> Installed:
    """Make a bundle the current version in `to`: verify, copy, verify again, check, switch the link.

    If the process is killed, either the old or the new version is current and complete; the next call cleans up.
    Raises BundleError or OSError.
    """
    bundle, to = bundle.resolve(), to.expanduser().resolve()
    if to.is_relative_to(bundle):
        raise BundleError(f"{to}: expected a folder outside the bundle, got one inside; name another")
    manifest = read_bundle(bundle, key=key)
    version = _name(bundle)
    if files := [place for place in (to, *to.parents) if place.exists() and not place.is_dir()]:
        raise BundleError(f"{to}: expected a folder to install in, got the file {files[0]}; name another")
    to.mkdir(parents=True, exist_ok=True)
    with _exclusive(to):
        was = _linked(to, CURRENT)
        target = to / VERSIONS / version
        counts = (0, 0)
        if not _is_whole(target, key):
            counts = _add_version(bundle, manifest, target, key, check)
        elif version == was:
            return Installed(version=version, was=was)
        else:
            check(target, key)
        if was not in (None, version) and _is_whole(to / VERSIONS / str(was)):
            _switch(to, PREVIOUS, str(was))  # first: a kill between the two switches must not lose a version
        _switch(to, CURRENT, version)
        _clear(to)
    return Installed(version=version, was=was, copied=counts[0], shared=counts[1])


def rollback(to: Path, *, key: Path | None = None, check: Check = self_test) -> Installed:
    """Swap the current and the previous version, after verifying and checking the latter like a new one.

    Raises BundleError if there is no previous version, or if it fails.
    """
    to = to.expanduser().resolve()
    if not (to / VERSIONS).is_dir():
        raise BundleError(f"{to}: expected a folder that install made, got none; correct --to")
    with _exclusive(to):
        was, version = _linked(to, CURRENT), _linked(to, PREVIOUS)
        if version is None or version == was:
            raise BundleError(f"{to}: expected a previous version to go back to, got none; install one")
        target = to / VERSIONS / version
        read_bundle(target, key=key)
        check(target, key)
        _switch(to, CURRENT, version)  # first: after a kill the requested version is current
        if was is not None:
            _switch(to, PREVIOUS, was)
    return Installed(version=version, was=was)


def _name(bundle: Path) -> str:
    """The version's name: the hash of the manifest and, if the bundle is signed, of the signature."""
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:32]
    signature = bundle / SIGNATURE
    return f"{digest}-{sha256_of(signature)[:8]}" if signature.exists() else digest


def _add_version(bundle: Path, manifest: Manifest, target: Path, key: Path | None, check: Check) -> tuple[int, int]:
    """Write the version, which gets its name when it is whole and checked; how many files were copied and shared."""
    versions, to = target.parent, target.parents[1]
    new = versions / NEW
    try:
        shared = _copy(bundle, manifest, new, _files(to / CURRENT))
        read_bundle(new, key=key)
        if _name(new) != target.name:
            raise BundleError(f"{bundle}: expected a bundle that nobody changes or signs meanwhile, got another; rerun")
        flush(new)
        check(new, key)
        _remove(target)  # a damaged version
        new.rename(target)
    except BaseException as cause:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            size, free = sum(entry.bytes for entry in manifest.files.values()), shutil.disk_usage(to).free
            raise BundleError(
                f"{to}: expected room for a bundle of {size / 1e6:.1f} MB, got {free / 1e6:.1f} MB free: "
                f"{cause.strerror}; free some space; the current version stays"
            ) from cause
        raise
    fsync(versions)
    return len(manifest.files) - shared, shared


def _copy(bundle: Path, manifest: Manifest, new: Path, existing: dict[str, Path]) -> int:
    """Copy the files, or link them to equal `existing` ones (by sha256); returns how many were linked."""
    shared = 0
    for path, entry in manifest.files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        if _link(existing.get(entry.sha256), entry, new / path):
            shared += 1
        else:
            shutil.copyfile(bundle / path, new / path)
    (new / PROGRAM).chmod(0o755)
    for name in (MANIFEST, DIGEST, SIGNATURE):
        if (bundle / name).exists():
            shutil.copyfile(bundle / name, new / name)
    return shared


def _link(source: Path | None, entry: FileEntry, target: Path) -> bool:
    """Hard-link `target` to `source`; False if that is damaged or the file system does not support it."""
    try:
        if source is None or sha256_of(source) != entry.sha256:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _files(current: Path) -> dict[str, Path]:
    """The files of a version by their sha256, not verified; empty if its manifest is unreadable."""
    try:
        files = read_bundle(current.resolve(), verify=False).files
    except (BundleError, OSError):
        return {}
    return {entry.sha256: current.resolve() / path for path, entry in files.items()}


def _is_whole(version: Path, key: Path | None = None) -> bool:
    try:
        read_bundle(version, key=key)
    except (BundleError, OSError):
        return False
    return True


def _linked(to: Path, link: str) -> str | None:
    """The name of the version that a link points to."""
    if not (to / link).is_symlink():
        return None
    name = Path((to / link).readlink()).name
    return name if (to / VERSIONS / name).is_dir() else None


def _switch(to: Path, link: str, version: str) -> None:
    """Let a link point to another version, atomically."""
    new = _beside(to, link)
    new.symlink_to(f"{VERSIONS}/{version}")
    new.replace(to / link)
    fsync(to)


def _beside(to: Path, link: str) -> Path:
    return to / f".{link}{NEW}"


@contextlib.contextmanager
def _exclusive(to: Path) -> Iterator[None]:
    """Lock the folder against other processes, check its content, and remove what a killed process left."""
    _check_ours(to)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(to / LOCK, f"{to}: another process installs there; waiting for it"))
        except ImportError as cause:
            raise BundleError(
                f"{to}: expected a system that locks files with fcntl (Linux, macOS), got {platform.system()}; "
                "copy the bundle by hand"
            ) from cause
        (to / VERSIONS).mkdir(exist_ok=True)
        _clear(to)
        yield


def _check_ours(to: Path) -> None:
    """Raise BundleError if anything in the folder, where versions get deleted, is not of an installation."""
    links = (CURRENT, PREVIOUS)
    known = {VERSIONS, LOCK, *links, *(_beside(to, link).name for link in links)}
    extra = [entry for entry in to.iterdir() if entry.name not in known]
    extra += [to / link for link in links if (to / link).exists() and not (to / link).is_symlink()]
    if (to / VERSIONS).is_dir():
        entries = (to / VERSIONS).iterdir()
        extra += [entry for entry in entries if entry.name not in (NEW, OLD) and not NAME.fullmatch(entry.name)]
    if extra:
        raise BundleError(f"{min(extra)}: expected only files of install in {to}, got this; name another folder")


def _clear(to: Path) -> None:
    """Remove the versions that no link points to."""
    for link in (CURRENT, PREVIOUS):
        _beside(to, link).unlink(missing_ok=True)
    linked = {_linked(to, CURRENT), _linked(to, PREVIOUS)}
    for version in list((to / VERSIONS).iterdir()):
        if version.name not in linked:
            _remove(version)


def _remove(version: Path) -> None:
    """Rename the folder before deleting it: a folder with a version's name is always whole."""
    old = version.with_name(OLD)
    shutil.rmtree(old, ignore_errors=True)
    if version.exists():
        version.rename(old)
        shutil.rmtree(old, ignore_errors=True)  # the rest is removed at the next call
