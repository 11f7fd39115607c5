"""A file inside a shard, which is read without unpacking the shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Member:
    """The member `name` of a tar file, with the position and size of its content in bytes."""

    shard: Path
    name: str
    offset: int
    size: int

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Read the content.  Raises OSError, also if the shard is shorter."""
        return read_range(self.shard, self.offset, self.size)

    def __str__(self) -> str:
        return f"{self.shard}, {self.name}"


def read_range(shard: Path, offset: int, size: int) -> bytes:
    """Read `size` bytes from `offset` on.  Raises OSError if the file is missing or shorter."""
    with shard.open("rb") as stream:
        stream.seek(offset)
        content = stream.read(size)
    if len(content) < size:
        raise OSError(
            f"{shard}: expected at least {offset + size} bytes as in the data stage, got {shard.stat().st_size}; "
            "restore the shard, or rerun the command to read all shards again"
        )
    return content
