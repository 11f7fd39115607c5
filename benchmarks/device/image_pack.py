"""Many images as one file: an uncompressed zip whose bytes depend on nothing but theirs."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from export.bundle.archive import write_archive


def write_pack(files: Sequence[Path], out: Path) -> Path:
    """Write `files` in their order as 000000.jpg, 000001.png, …: equal images give equal bytes."""
    write_archive(out, ((f"{index:06d}{file.suffix.lower()}", file.read_bytes()) for index, file in enumerate(files)))
    return out


def read_pack(file: Path) -> Pack:
    """The images of a pack, each read when it is asked for; raises ValueError for what is no pack."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as cause:
        raise ValueError(f"{file}: expected a pack of images (.zip), got {cause}; pack them again") from None
    return Pack(archive)


class Pack(Sequence[bytes]):
    """The content of each image, in order of the names; the zip's checksum is verified at every read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.names = sorted(archive.namelist())
        self._archive = archive

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self._archive.read(name) for name in self.names[index]]
        return self._archive.read(self.names[index])
