"""XMP sidecars: writes the tags of an image to the file beside it where photo applications read them."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from export.bundle.manifest import DIGEST, MANIFEST
from export.tagger.xmp_document import MOST_BYTES, XmpError
from export.tagger.xmp_tags import TagPath, add_tags
from mlkd.core.images import UnreadableImageError, embedded_xmp

SUFFIX = ".xmp"
LONGEST_WAIT_S = 60.0  # for other processes that write sidecars in the folder


class SidecarError(ValueError):
    """Tags cannot be written; the message names the sidecar and the cause, and the sidecar is as before."""


def sidecar_of(image: Path, *, lightroom: bool = False) -> Path:
    """The sidecar of an image.

    `photo.jpg.xmp`, as darktable, digiKam and immich name it; `photo.xmp`, as Lightroom does, with `lightroom` or if
    only that file exists.
    """
    appended, replaced = image.with_name(image.name + SUFFIX), image.with_suffix(SUFFIX)
    if lightroom or (replaced != image and os.path.lexists(replaced) and not os.path.lexists(appended)):
        return replaced
    return appended


def write_tags(image: Path, paths: Sequence[TagPath], *, lightroom: bool = False) -> bool:
    """Add tags, each with the levels above it, to the sidecar of an image; returns whether the sidecar changed.

    A new sidecar begins with the tags in the image itself.  A new or changed sidecar replaces the old one at once when
    it is on the disk.  It keeps mode and owner of the old one, or has those of the image.  A sidecar that another
    program changes in the meantime is not replaced; processes and threads that call this function take turns in a
    folder that can be locked.

    Raises:
        SidecarError: The sidecar is a link or no XMP, too large, changing, in a bundle, or this user may not read or
            write it; or the XMP in the image cannot be read.
    """
    file = sidecar_of(image, lightroom=lightroom)
    try:
        _check_no_bundle(file.parent)
        with _turn(image.parent):
            file = sidecar_of(image, lightroom=lightroom)
            content, before = _read(file)
            embedded = embedded_xmp(image) if content is None and paths else None
            new = add_tags(content, paths, embedded)
            if new is not None:
                _replace(file, new, before, before or image.stat())
    except (XmpError, UnreadableImageError) as cause:
        raise SidecarError(f"{file}: {cause}") from None
    except OSError as cause:
        reason = "a link" if cause.errno == errno.ELOOP else os.strerror(cause.errno) if cause.errno else str(cause)
        raise SidecarError(f"{file}: expected a file that this user may read and write, got: {reason}") from cause
    return new is not None


def _check_no_bundle(folder: Path) -> None:
    """Raise XmpError for a folder in a bundle: an additional file makes it invalid."""
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if all(os.path.isfile(parent / name) for name in (MANIFEST, DIGEST)):  # noqa: PTH113  (no error without permission)
            raise XmpError(
                f"expected an image outside the bundle {parent}, whose files must not change; copy the image"
            )


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; Windows and some network shares have none, and some folders may not be read."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            _lock(functools.partial(fcntl.flock, handle, fcntl.LOCK_EX | fcntl.LOCK_NB))
        yield


def _lock(attempt: Callable[[], None]) -> None:
    """Repeat `attempt` while another process has the lock.  Raises XmpError after LONGEST_WAIT_S."""
    end = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            return attempt()
        except BlockingIOError:
            if time.monotonic() > end:
                raise XmpError("expected a folder that no other process keeps locked, got one; end it") from None
        time.sleep(0.01)


def _read(file: Path) -> tuple[bytes | None, os.stat_result | None]:
    """Content and status; None if there is no such file.  Neither follows a link nor waits for a pipe."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(file, flags)
    except FileNotFoundError:
        return None, None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise XmpError(f"expected a file, got a {'folder' if stat.S_ISDIR(status.st_mode) else 'pipe or device'}")
    with os.fdopen(handle, "rb") as stream:
        return stream.read(MOST_BYTES + 1), status


def _replace(file: Path, content: bytes, before: os.stat_result | None, like: os.stat_result) -> None:
    handle, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=file.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            with contextlib.suppress(OSError, AttributeError):  # some file systems have no modes or owners, nor Windows
                os.fchmod(handle, stat.S_IMODE(like.st_mode) if before else like.st_mode & 0o666)
                os.fchown(handle, like.st_uid, like.st_gid)
            os.fsync(handle)
        if _version(_status(file)) != _version(before):
            raise XmpError("expected a sidecar that no other program is changing, got another one; run tag again")
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _status(file: Path) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):
        return file.lstat()
    return None


def _version(status: os.stat_result | None) -> tuple[int, ...]:
    return (status.st_size, status.st_mtime_ns) if status else ()  # no inode: some network shares change it
