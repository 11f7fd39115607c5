"""Request line and headers, read strictly: what two parsers could understand differently is refused."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from export.tagger.service.limits import HEAD_BYTES, MOST_HEADERS
from export.tagger.service.responses import HttpError

# RFC 9112, section 3, and RFC 9110, sections 5.1 and 5.5
REQUEST_LINE = re.compile(r"([A-Z]{1,16}) ([!-~]+) HTTP/([0-9])\.([0-9])")
HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
LENGTH = re.compile(r"[0-9]{1,18}")
ONCE = (
    *("authorization", "content-encoding", "content-length", "content-type", "expect", "host", "origin"),
    *("sec-fetch-site", "transfer-encoding"),
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The first lines of a request; names of headers are in lower case."""

    method: str
    path: str
    query: str
    host: str
    headers: dict[str, str]
    keep_alive: bool

    @property
    def chunked(self) -> bool:
        """Whether the body has no declared length."""
        return "transfer-encoding" in self.headers

    @property
    def length(self) -> int | None:
        """The declared length of the body in bytes."""
        text = self.headers.get("content-length")
        return None if text is None else int(text)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a permission to send the body."""
        return "expect" in self.headers


async def read_head(reader: asyncio.StreamReader, first: bytes) -> Head:
    """Read the lines up to the empty one; `first` are bytes that were read before.

    Raises HttpError, and IncompleteReadError if the client closes the connection.
    """
    lines: list[str] = []
    total = 0
    while True:
        try:
            line = first + await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise _too_large() from None
        first = b""
        total += len(line)
        if total > HEAD_BYTES or len(lines) > MOST_HEADERS:
            raise _too_large()
        if not line.endswith(b"\r\n"):
            raise HttpError(400, "head: expected lines that end with CR LF, got another end")
        if line == b"\r\n":
            return parse_head(lines)
        lines.append(line[:-2].decode("latin-1"))


def parse_head(lines: list[str]) -> Head:
    """A checked head of a request.  Raises HttpError."""
    matched = REQUEST_LINE.fullmatch(lines[0]) if lines else None
    if matched is None:
        raise HttpError(400, "request line: expected METHOD PATH HTTP/1.1, got something else")
    method, target, major, minor = matched.groups()
    if major != "1":
        raise HttpError(505, f"version: expected HTTP/1.1, got HTTP/{major}.{minor}")
    headers = _headers(lines[1:])
    url = _split(target)
    is_new = minor != "0"
    if is_new and "host" not in headers:
        raise HttpError(400, "header Host: expected one, got none")
    _check_framing(headers, is_new)
    connection = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    host = url[0] or headers.get("host", "")
    keep_alive = is_new and "close" not in connection
    return Head(method=method, path=url[1], query=url[2], host=host, headers=headers, keep_alive=keep_alive)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        matched = HEADER.fullmatch(line)
        if matched is None:
            raise HttpError(400, "headers: expected NAME: VALUE in each line, got something else")
        name, value = matched[1].lower(), matched[2].strip()
        if name in ONCE and name in headers:
            raise HttpError(400, f"header {name}: expected one, got several")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _split(target: str) -> tuple[str, str, str]:
    """Host, path and query of /path?query or http://host/path?query."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
        return "", path, query
    try:
        url = urlsplit(target)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.netloc:
        raise HttpError(400, "request line: expected a path that starts with /, got something else")
    return url.netloc, url.path or "/", url.query


def _check_framing(headers: dict[str, str], is_new: bool) -> None:
    """Raise HttpError unless the end of the body is beyond doubt (RFC 9112, section 6.3)."""
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None and (length is not None or not is_new):
        raise HttpError(400, "header Transfer-Encoding: expected none beside Content-Length or in HTTP/1.0, got one")
    if coding is not None and coding.lower() != "chunked":
        raise HttpError(501, "header Transfer-Encoding: expected chunked, got another one")
    if length is not None and not LENGTH.fullmatch(length):
        raise HttpError(400, "header Content-Length: expected a number, got something else")
    if headers.get("expect", "100-continue").lower() != "100-continue":
        raise HttpError(417, "header Expect: expected 100-continue, got another one")


def _too_large() -> HttpError:
    return HttpError(431, f"headers: expected at most {MOST_HEADERS} of {HEAD_BYTES} bytes together, got more")
