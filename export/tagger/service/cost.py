"""What an image would cost to decode, from its headers: pixels bound the memory, scans of a JPEG multiply the time."""

from __future__ import annotations

import re

from mlkd.core.images import UnreadableImageError, declared_pixels

MOST_SCANS = 64  # progressive JPEGs have about ten; each takes as long as a whole image, and only 75 bytes
JPEG = b"\xff\xd8"
# ITU-T T.81, section B.1.1: all markers but those without a length; \xff\x00 is a byte of an image
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
END, SCAN = b"\xd9", b"\xda"


def check_cost(data: bytes, most_pixels: int) -> None:
    """Raise UnreadableImageError for an image that is too large or has too many scans."""
    pixels = declared_pixels(data)
    if pixels > most_pixels:
        raise UnreadableImageError(f"image: expected at most {most_pixels} pixels, got {pixels}; reduce it")
    count = scans(data) if data.startswith(JPEG) else 0
    if count > MOST_SCANS:
        raise UnreadableImageError(f"image: expected at most {MOST_SCANS} scans in a JPEG, got {count}; save it again")


def scans(jpeg: bytes) -> int:
    """The scans of a JPEG up to its end; thumbnails in its metadata do not count."""
    count, at = 0, len(JPEG)
    while (marker := MARKER.search(jpeg, at)) is not None and marker[1] != END:
        count += marker[1] == SCAN
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return count
