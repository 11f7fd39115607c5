"""Bundles on a device: versions side by side, one link that says which is run, the last good one kept.

A folder holds versions/NAME, each a whole bundle, and two links to them, `current` and `previous`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from export.bundle.bundle import DIGEST, MANIFEST, PROGRAM, SIGNATURE, flush, read_bundle
from export.bundle.manifest import FileEntry, Manifest
from export.errors import BundleError
from export.tagger.trial import self_test
from mlkd.core.files import fsync, sha256_of

log = logging.getLogger(__name__)

VERSIONS, CURRENT, PREVIOUS, LOCK = "versions", "current", "previous", ".lock"
NEW, OLD = ".new", ".old"  # beside the versions: one that is being made, one that is being removed
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NAME = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{8})?")

Check = Callable[[Path, Path | None], None]  # raises BundleError for a bundle that must not be switched to


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is run now and what was before; of its files how many were copied, and how many shared with that."""

    version: str
    was: str | None
    copied: int = 0
    shared: int = 0


def install(bundle: Path, to: Path, *, key: Path | None = None, check: Check = self_test) -> Installed:
    """Make `bundle` the current version in `to`: verified, copied, verified again, checked, switched to.

    A kill leaves the one before or this one, whole; the next call clears what it left.  Raises BundleError or OSError.
    """
    bundle, to = bundle.resolve(), to.expanduser().resolve()
    if to.is_relative_to(bundle):
        raise BundleError(f"{to}: expected a folder outside the bundle, got one inside; name another")
    manifest = read_bundle(bundle, key=key)
    version = _name(bundle)
    if files := [place for place in (to, *to.parents) if place.exists() and not place.is_dir()]:
        raise BundleError(f"{to}: expected a folder to install in, got the file {files[0]}; name another")
    to.mkdir(parents=True, exist_ok=True)
    with _alone(to):
        was = _linked(to, CURRENT)
        place = to / VERSIONS / version
        counts = (0, 0)
        if not _is_whole(place, key):
            counts = _bring(bundle, manifest, place, key, check)
        elif version == was:
            return Installed(version=version, was=was)
        else:
            check(place, key)
        if was not in (None, version) and _is_whole(to / VERSIONS / str(was)):
            _switch(to, PREVIOUS, str(was))  # before the other link: a kill between them loses none that runs
        _switch(to, CURRENT, version)
        _clear(to)
    return Installed(version=version, was=was, copied=counts[0], shared=counts[1])


def rollback(to: Path, *, key: Path | None = None, check: Check = self_test) -> Installed:
    """Make the previous version in `to` the current one, and the other way round; verified and checked like a new one.

    Raises BundleError if there is none, or none that passes.
    """
    to = to.expanduser().resolve()
    if not (to / VERSIONS).is_dir():
        raise BundleError(f"{to}: expected a folder that install made, got none; correct --to")
    with _alone(to):
        was, version = _linked(to, CURRENT), _linked(to, PREVIOUS)
        if version is None or version == was:
            raise BundleError(f"{to}: expected a previous version to go back to, got none; install one")
        place = to / VERSIONS / version
        read_bundle(place, key=key)
        check(place, key)
        _switch(to, CURRENT, version)  # first: a kill after it leaves what was asked for
        if was is not None:
            _switch(to, PREVIOUS, was)
    return Installed(version=version, was=was)


def _name(bundle: Path) -> str:
    """Of the manifest's hash, which manifest.sha256 says too, and the signature's, if there is one."""
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:32]
    signature = bundle / SIGNATURE
    return f"{digest}-{sha256_of(signature)[:8]}" if signature.exists() else digest


def _bring(bundle: Path, manifest: Manifest, place: Path, key: Path | None, check: Check) -> tuple[int, int]:
    """Make the version's folder, which has no name of its own before it is whole and checked; files copied, shared."""
    versions, to = place.parent, place.parents[1]
    new = versions / NEW
    try:
        shared = _copy(bundle, manifest, new, _files(to / CURRENT))
        read_bundle(new, key=key)
        if _name(new) != place.name:
            raise BundleError(
                f"{bundle}: expected a bundle that nobody changes or signs meanwhile, got another; run it again"
            )
        flush(new)
        check(new, key)
        _remove(place)  # it was not whole
        new.rename(place)
    except BaseException as cause:
        shutil.rmtree(new, ignore_errors=True)
        if isinstance(cause, OSError) and cause.errno in DISK_FULL:
            raise _no_room(manifest, to, cause) from cause
        raise
    fsync(versions)
    return len(manifest.files) - shared, shared


def _no_room(manifest: Manifest, to: Path, cause: OSError) -> BundleError:
    size = sum(entry.bytes for entry in manifest.files.values())
    return BundleError(
        f"{to}: expected room for a bundle of {size / 1e6:.1f} MB, got {shutil.disk_usage(to).free / 1e6:.1f} MB free: "
        f"{cause.strerror}; make room; what was there stays"
    )


def _copy(bundle: Path, manifest: Manifest, new: Path, there: dict[str, Path]) -> int:
    """How many of the files were linked to equal ones that are `there`, by sha256."""
    shared = 0
    for path, entry in manifest.files.items():
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        if _link(there.get(entry.sha256), entry, new / path):
            shared += 1
        else:
            shutil.copyfile(bundle / path, new / path)
    (new / PROGRAM).chmod(0o755)
    for name in (MANIFEST, DIGEST, SIGNATURE):
        if (bundle / name).exists():
            shutil.copyfile(bundle / name, new / name)
    return shared


def _link(source: Path | None, entry: FileEntry, target: Path) -> bool:
    """Whether `target` is now another name of `source`: not if that is damaged, or the file system cannot."""
    try:
        if source is None or sha256_of(source) != entry.sha256:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _files(current: Path) -> dict[str, Path]:
    """The files of a version by their sha256, not verified; none of one that says nothing sensible of itself."""
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
    """The name of the version that a link leads to."""
    if not (to / link).is_symlink():
        return None
    name = Path((to / link).readlink()).name
    return name if (to / VERSIONS / name).is_dir() else None


def _switch(to: Path, link: str, version: str) -> None:
    """Lead a link to another version, atomically."""
    new = _beside(to, link)
    new.symlink_to(f"{VERSIONS}/{version}")
    new.replace(to / link)
    fsync(to)


def _beside(to: Path, link: str) -> Path:
    return to / f".{link}{NEW}"


@contextlib.contextmanager
def _alone(to: Path) -> Iterator[None]:
    """Nobody else changes the folder; it holds nothing but ours, and what a killed process left is cleared."""
    try:
        import fcntl
    except ImportError as cause:
        raise BundleError(
            f"{to}: expected a system that locks files with fcntl (Linux, macOS), got {platform.system()}; "
            "copy the bundle by hand"
        ) from cause
    _check_ours(to)
    with (to / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("%s: another process installs there; waiting for its end", to)
            fcntl.flock(lock, fcntl.LOCK_EX)
        (to / VERSIONS).mkdir(exist_ok=True)
        _clear(to)
        yield


def _check_ours(to: Path) -> None:
    """Raise BundleError if anything in the folder is not of an installation: versions are deleted there."""
    links = (CURRENT, PREVIOUS)
    known = {VERSIONS, LOCK, *links, *(_beside(to, link).name for link in links)}
    extra = [entry for entry in to.iterdir() if entry.name not in known]
    extra += [to / link for link in links if (to / link).exists() and not (to / link).is_symlink()]
    if (to / VERSIONS).is_dir():
        entries = (to / VERSIONS).iterdir()
        extra += [entry for entry in entries if entry.name not in (NEW, OLD) and not NAME.fullmatch(entry.name)]
    if extra:
        raise BundleError(f"{min(extra)}: expected only what install made in {to}, got this; name another folder")


def _clear(to: Path) -> None:
    """Remove what no link leads to."""
    for link in (CURRENT, PREVIOUS):
        _beside(to, link).unlink(missing_ok=True)
    kept = {_linked(to, CURRENT), _linked(to, PREVIOUS)}
    for version in list((to / VERSIONS).iterdir()):
        if version.name not in kept:
            _remove(version)


def _remove(version: Path) -> None:
    """Take the name away first: what has one is whole."""
    old = version.with_name(OLD)
    shutil.rmtree(old, ignore_errors=True)
    if version.exists():
        version.rename(old)
        shutil.rmtree(old, ignore_errors=True)  # what stays is cleared the next time
