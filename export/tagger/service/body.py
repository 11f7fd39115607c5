"""Bodies of requests: read with a declared length or in chunks, within the limits of one and of all together."""

from __future__ import annotations

import asyncio
import re

from export.tagger.service.head import Head
from export.tagger.service.limits import CHUNK_BYTES, MB, MOST_HEADERS, Limits
from export.tagger.service.responses import BusyError, HttpError

CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Budget:
    """Bytes of all bodies that are in memory; only the event loop uses it."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, count: int) -> None:
        """Add bytes that have arrived.  Raises BusyError if they would be too many."""
        if self.held + count > self.most:
            raise BusyError(
                "memory", f"bodies: expected at most {self.most} bytes in all requests, got more; try again"
            )
        self.held += count

    def release(self, count: int) -> None:
        """Subtract bytes that are no longer needed."""
        self.held -= count


class Body:
    """The body of one request; call `release` when its bytes are no longer needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head) -> None:
        self._reader, self._writer, self._head = reader, writer, head
        self._content = bytearray()  # grows in place; many small pieces would fragment the memory of the process
        self.size = 0  # bytes that are in the budget
        self._budget: Budget | None = None
        self.whole = not (head.chunked or head.length)  # nothing of it is left in the connection

    async def read(self, limits: Limits, budget: Budget, within_s: float) -> None:
        """Receive all bytes.

        Raises:
            HttpError: The body is too large, too slow or not framed as declared.
            IncompleteReadError: The client closed the connection.
        """
        self._budget, most = budget, limits.body_mb * MB
        length = self._head.length
        if length is None and not self._head.chunked:
            self.whole = False  # the client may send one all the same
            raise HttpError(411, "header Content-Length: expected one, got none; declare the length of the body")
        if length is not None and length > most:
            raise _too_large(most, f"{length}")
        if self._head.expects_continue and not self.whole:
            self._writer.write(CONTINUE)
        reading = self._read_chunks(most) if length is None else self._read(length)
        try:
            await asyncio.wait_for(reading, within_s)
        except asyncio.TimeoutError:
            raise HttpError(408, f"body: expected all of it within {limits.read_s:g} s, got a part") from None
        self.whole = True

    def take(self) -> bytes:
        """All bytes, which the body holds no longer; they stay in the budget until `release`."""
        content, self._content = self._content, bytearray()
        return bytes(content)

    def release(self) -> None:
        """Return the bytes to the budget."""
        if self._budget is not None:
            self._budget.release(self.size)
        self._content, self.size = bytearray(), 0

    def is_client_gone(self) -> bool:
        """Whether the client has closed the connection, or its side of it, and sent no other request before."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def _read(self, count: int) -> None:
        assert self._budget is not None
        while count:
            piece = await self._reader.read(min(count, CHUNK_BYTES))
            if not piece:
                raise asyncio.IncompleteReadError(b"", count)
            self._budget.take(len(piece))
            self._content += piece
            self.size += len(piece)
            count -= len(piece)

    async def _read_chunks(self, most: int) -> None:
        """RFC 9112, section 7.1; extensions and trailers are dropped."""
        while True:
            matched = CHUNK_SIZE.fullmatch(await self._line())
            if matched is None:
                raise HttpError(400, "body: expected the size of a chunk in hexadecimal, got something else")
            size = int(matched[1], 16)
            if not size:
                break
            if self.size + size > most:
                raise _too_large(most, "more")
            await self._read(size)
            if await self._reader.readexactly(2) != b"\r\n":
                raise HttpError(400, "body: expected CR LF after a chunk, got something else")
        for _ in range(MOST_HEADERS):
            if await self._line() == b"\r\n":
                return
        raise HttpError(431, f"trailers: expected at most {MOST_HEADERS}, got more")

    async def _line(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise HttpError(400, "body: expected the size of a chunk, got a line that is too long") from None


def _too_large(most: int, size: str) -> HttpError:
    return HttpError(413, f"body: expected at most {most} bytes, got {size}; send fewer or smaller images")
