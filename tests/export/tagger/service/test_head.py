"""Request line and headers: what two servers could read differently is refused."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.tagger.service.head import Head, parse_head, read_head
from export.tagger.service.responses import HttpError

HOST = "Host: localhost"
GET = ["GET /labels HTTP/1.1", HOST]


def read(sent: bytes) -> Head:
    """Read a head from a stream that ends after it."""

    async def run() -> Head:
        reader = asyncio.StreamReader(limit=16_384)
        reader.feed_data(sent)
        reader.feed_eof()
        return await read_head(reader, b"")

    return asyncio.run(run())


def test_a_head_is_read_up_to_the_empty_line() -> None:
    head = read(b"POST /tag?top_k=3 HTTP/1.1\r\nHOST: a:80\r\nX: 1 \r\nx:\t2\r\nContent-Length: 5\r\n\r\nhello")
    assert (head.method, head.path, head.query, head.host) == ("POST", "/tag", "top_k=3", "a:80")
    assert head.headers["x"] == "1, 2"
    assert (head.length, head.chunked, head.keep_alive) == (5, False, True)


def test_the_host_of_an_absolute_target_counts() -> None:
    head = parse_head(["GET http://evil.example/labels?a HTTP/1.1", HOST])
    assert (head.host, head.path, head.query) == ("evil.example", "/labels", "a")


@pytest.mark.parametrize(
    ("lines", "keep_alive"),
    [(GET, True), ([*GET, "Connection: Upgrade, Close"], False), (["GET / HTTP/1.0"], False)],
)
def test_connections_that_end(lines: list[str], keep_alive: bool) -> None:
    assert parse_head(lines).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (400, []),
        (400, ["GET /"]),
        (400, ["get / HTTP/1.1", HOST]),
        (400, ["GET  / HTTP/1.1", HOST]),
        (400, ["GET / HTTP/1.1 ", HOST]),
        (400, ["GET labels HTTP/1.1", HOST]),
        (400, ["GET * HTTP/1.1", HOST]),
        (400, ["GET ftp://localhost/ HTTP/1.1", HOST]),
        (400, ["GET http://[/ HTTP/1.1", HOST]),
        (400, ["GET /\x00 HTTP/1.1", HOST]),
        (400, ["GET / HTTP/1.1"]),
        (505, ["GET / HTTP/2.0", HOST]),
        (400, [*GET, HOST]),
        (400, [*GET, "name : value"]),
        (400, [*GET, " folded: line"]),
        (400, [*GET, "no colon"]),
        (400, [*GET, ": no name"]),
        (400, [*GET, "a: b\rc"]),
        (400, [*GET, "a: \x00"]),
        (400, [*GET, "Content-Length: 1", "Content-Length: 1"]),
        (400, [*GET, "Content-Length: 1, 1"]),
        (400, [*GET, "Content-Length: +1"]),
        (400, [*GET, "Content-Length: -1"]),
        (400, [*GET, "Content-Length: 0x10"]),
        (400, [*GET, "Content-Length: 1_0"]),
        (400, [*GET, "Content-Length:"]),
        (400, [*GET, "Content-Length: 1", "Transfer-Encoding: chunked"]),
        (400, [*GET, "Transfer-Encoding: chunked", "transfer-encoding: chunked"]),
        (400, ["POST / HTTP/1.0", "Transfer-Encoding: chunked"]),
        (501, [*GET, "Transfer-Encoding: gzip, chunked"]),
        (501, [*GET, "Transfer-Encoding: \x0bchunked".replace("\x0b", "x")]),
        (417, [*GET, "Expect: money"]),
    ],
)
def test_a_doubtful_head_is_refused(status: int, lines: list[str]) -> None:
    with pytest.raises(HttpError, match="expected") as raised:
        parse_head(lines)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"GET / HTTP/1.1\n"),
        (431, b"GET /" + b"a" * 17_000),
        (431, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 65),
        (431, b"GET / HTTP/1.1\r\n" + (b"a: " + b"b" * 400 + b"\r\n") * 50),
    ],
)
def test_lines_that_are_too_many_too_long_or_end_otherwise(status: int, sent: bytes) -> None:
    with pytest.raises(HttpError) as raised:
        read(sent)
    assert raised.value.status == status


def test_a_head_that_is_cut_off_is_no_request() -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        read(b"GET / HTTP/1.1\r\nHost: loc")


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=255), max_size=40), max_size=6))
def test_no_lines_raise_another_error(lines: list[str]) -> None:
    with contextlib.suppress(HttpError):
        parse_head(["GET / HTTP/1.1", HOST, *lines])
    with contextlib.suppress(HttpError):
        parse_head(lines)
