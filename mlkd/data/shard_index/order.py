"""What decides the order of streamed images beside the seed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """The number of parallel streams, and of images that are shuffled together within each."""

    streams: int
    shuffle: int
