"""Unpacks the images of a Debian package, with dpkg-deb if it is installed, else without."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

FOLDERS = {
    "usr/share/tuxpaint/stamps/": (".png", ".jpg"),
    "usr/share/openclipart/png/": (".png", ".jpg"),
    "usr/share/backgrounds/": (".png", ".jpg"),
}
LICENCES = "/copyright"  # unpacked as well, from usr/share/doc


class UnpackError(ValueError):
    """The file is no readable Debian package; the message gives the cause."""


def unpack(package: Path, out: Path) -> str:
    """Write the package's images and its copyright file below `out`, without links.

    Returns the SHA-256 of the images' sorted paths and contents.  Raises UnpackError, also for a path outside `out`.
    """
    contents: dict[str, str] = {}
    try:
        with _files(package) as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if name.startswith("/") or ".." in name.split("/"):
                    raise UnpackError(f"the path {member.name!r}, which leaves its folder")
                packed = archive.extractfile(member) if member.isreg() else None
                if packed and (_is_image(name) or name.endswith(LICENCES)):
                    content = packed.read()
                    (out / name).parent.mkdir(parents=True, exist_ok=True)
                    (out / name).write_bytes(content)
                    if _is_image(name):
                        contents[name] = hashlib.sha256(content).hexdigest()
    except (tarfile.TarError, EOFError) as cause:
        raise UnpackError(str(cause)) from cause
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(contents.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _is_image(name: str) -> bool:
    return any(name.startswith(folder) and name.endswith(suffixes) for folder, suffixes in FOLDERS.items())


@contextmanager
def _files(package: Path) -> Iterator[IO[bytes]]:
    """The tar archive inside the package."""
    if shutil.which("dpkg-deb") is None:
        yield io.BytesIO(_data_member(package))
        return
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        yield process.stdout


def _data_member(package: Path) -> bytes:
    """The package is an ar archive; its member data.tar.* holds the files."""
    with package.open("rb") as stream:
        if stream.read(8) != b"!<arch>\n":
            raise UnpackError("a file that is no ar archive")
        while header := stream.read(60):
            name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
            if name.startswith("data.tar"):
                if name.endswith((".xz", ".gz", ".tar")):
                    return stream.read(size)
                raise UnpackError(f"{name}, which needs dpkg-deb; install dpkg")
            stream.seek(size + size % 2, io.SEEK_CUR)
    raise UnpackError("an archive without data.tar")
