"""Limits of the service, which bound its memory, threads and file descriptors whatever clients send."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

MB = 1_000_000
HEAD_BYTES = 16_384  # of the request line and all headers
MOST_HEADERS = 64
CHUNK_BYTES = 65_536  # read from a connection at once
RETRY_S = 1  # what Retry-After says


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The fields are options of `tagger.pyz serve`."""

    body_mb: int = 32  # of one request
    bodies_mb: int = 256  # of all requests that are read, wait or are tagged
    images: int = 32  # of one request
    megapixels: int = 50  # of one image, before a JPEG is reduced
    queue: int = 32  # requests that wait for a worker
    queue_s: float = 10.0  # for which a request waits
    tag_s: float = 30.0  # after which no other image of a request starts
    read_s: float = 20.0  # from the first byte of a request to its last, and between two requests
    connections: int = 128
    client_connections: int = 64  # of one address, which is a proxy's for all its clients
    stop_s: float = 30.0  # for the requests in flight after a signal

    def __post_init__(self) -> None:
        """Raise ValueError for a limit of zero or less, and if one body is larger than all together."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}: expected more than 0, got {value:g}")
        if self.body_mb > self.bodies_mb:
            raise ValueError(f"body_mb: expected at most bodies_mb ({self.bodies_mb}), got {self.body_mb}")
