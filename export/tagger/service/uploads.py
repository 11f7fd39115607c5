"""The images of a request: raw bytes, multipart/form-data, or JSON with base64.  Nothing is read from a disk."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from export.tagger.service import parameters
from export.tagger.service.responses import HttpError
from mlkd.core.images import UnreadableImageError

PART_HEAD_BYTES = 4_096
MOST_BOUNDARY = 70  # RFC 2046, section 5.1.1
TYPES = "image/*, application/octet-stream, multipart/form-data or application/json"


class Upload(NamedTuple):
    """An image's name, which is only repeated in the answer, and its bytes, or why there are none."""

    name: str
    data: bytes | UnreadableImageError


class ContentType(NamedTuple):
    """The media type in lower case, and the boundary of its parts."""

    kind: str
    boundary: bytes


def content_type(text: str | None) -> ContentType:
    """Read the header Content-Type.  Raises HttpError for a type that holds no images."""
    kind = (text or "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        boundary = _boundary(text or "")
        if not 0 < len(boundary) <= MOST_BOUNDARY or not boundary.isascii():
            raise HttpError(
                400, f"header Content-Type: expected a boundary of 1 to {MOST_BOUNDARY} characters, got none"
            )
        return ContentType(kind, boundary.encode())
    if kind in ("application/json", "application/octet-stream") or kind.startswith("image/"):
        return ContentType(kind, b"")
    raise HttpError(415, f"header Content-Type: expected {TYPES}, got {text or 'none'}")


def _boundary(header: str) -> str:
    try:
        return parameters.split(header)[1].get("boundary", "")
    except ValueError as cause:
        raise HttpError(400, f"header Content-Type: {cause}") from None


def uploads(kind: ContentType, body: bytes, most: int) -> list[Upload]:
    """The images of a body, at most `most`.  Raises HttpError for a body that is not of its type."""
    if kind.boundary:
        return _parts(kind.boundary, body, most)
    if kind.kind == "application/json":
        return _decoded(body, most)
    return [Upload("1", body)]


def _parts(boundary: bytes, body: bytes, most: int) -> list[Upload]:
    """Files of a form (RFC 7578); every part must be a file."""
    delimiter = b"\r\n--" + boundary
    found: list[Upload] = []
    if not body.startswith(delimiter[2:]):
        raise _malformed("the boundary of Content-Type at its start")
    at = len(delimiter) - 2
    while body[at : at + 2] != b"--":
        if body[at : at + 2] != b"\r\n":
            raise _malformed("CR LF or -- after a boundary")
        end_of_head = body.find(b"\r\n\r\n", at, at + PART_HEAD_BYTES)
        end = body.find(delimiter, end_of_head + 4)
        if end_of_head < 0 or end < 0:
            raise _malformed("headers, bytes and a boundary for each part")
        if len(found) == most:
            raise _too_many(most)
        found.append(Upload(_file_name(body[at:end_of_head], len(found) + 1), body[end_of_head + 4 : end]))
        at = end + len(delimiter)
    if not found:
        raise HttpError(400, "body: expected at least one file, got none")
    return found


def _file_name(head: bytes, number: int) -> str:
    lines = [line.partition(":") for line in head.decode("utf-8", "replace").split("\r\n")]
    dispositions = [value.strip() for name, _, value in lines if name.strip().lower() == "content-disposition"]
    if len(dispositions) != 1:
        raise HttpError(400, f"part {number}: expected one Content-Disposition, got {len(dispositions)}")
    try:
        kind, values = parameters.split(dispositions[0])
    except ValueError as cause:
        raise HttpError(400, f"part {number}: header Content-Disposition: {cause}") from None
    if kind != "form-data" or "filename" not in values:
        raise HttpError(400, f"part {number}: expected a file, got a field; options are query parameters")
    return values["filename"] or str(number)


def _decoded(body: bytes, most: int) -> list[Upload]:
    """`{"image": BASE64}` or `{"images": [BASE64, ...]}`."""
    # base64 has no such characters; without this check a short body could become millions of Python objects
    if body.count(b",") + body.count(b"[") + body.count(b"{") > most + 2:
        raise _too_many(most)
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=tuple)  # also for repeated keys
    except (ValueError, RecursionError):
        raise HttpError(400, "body: expected JSON in UTF-8, got something else") from None
    match content if isinstance(content, tuple) else ():
        case [("image", str() as text)]:
            return [_from_base64(text, 1)]
        case [("images", [*texts])] if texts and all(isinstance(text, str) for text in texts):
            if len(texts) > most:
                raise _too_many(most)
            return [_from_base64(text, number) for number, text in enumerate(texts, 1)]
    raise HttpError(400, 'body: expected {"image": BASE64} or {"images": [BASE64, ...]}, got other JSON')


def _from_base64(text: str, number: int) -> Upload:
    data: Any
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = UnreadableImageError(f"image {number}: expected base64, got other characters or a wrong length")
    return Upload(str(number), data)


def _malformed(expected: str) -> HttpError:
    return HttpError(400, f"body: expected {expected}, got something else; send multipart/form-data")


def _too_many(most: int) -> HttpError:
    return HttpError(413, f"body: expected at most {most} images, got more; send several requests")
