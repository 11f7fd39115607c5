"""One connection: requests one after the other, each within its time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time

from export.tagger.output import printable
from export.tagger.service.body import Body
from export.tagger.service.head import Head, read_head
from export.tagger.service.limits import CHUNK_BYTES
from export.tagger.service.responses import BusyError, HttpError, Response, error_response
from export.tagger.service.service import Service

_log = logging.getLogger(__name__)
LINGER_S = 2.0  # for which the rest of a refused body is read, or the client would not see the answer
LOGGED = 200  # characters of a path


class Connection:
    """Reads requests and writes answers until one side closes."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, service: Service, client: str
    ) -> None:
        self._reader, self._writer, self._service, self.client = reader, writer, service, client
        self._read_s = service.limits.read_s
        # nothing may be left to send when drain() returns; at a limit of 0, asyncio's TLS alternates between states
        writer.transport.set_write_buffer_limits(1 if writer.get_extra_info("sslcontext") else 0)
        self.idle_since: float | None = time.monotonic()  # between two requests

    async def run(self, refusal: HttpError | None = None) -> None:
        """Serve until the connection closes; with `refusal`, answer that and close."""
        try:
            if refusal is not None:
                await self._send(None, error_response(refusal), time.monotonic(), close=True)
                return
            while await self._serve_one():
                pass
        except (OSError, EOFError, asyncio.TimeoutError):  # the client has left, or reads nothing
            pass
        finally:
            self.abort()

    def idle_s(self) -> float:
        """Seconds since the last answer; 0 during a request."""
        return 0.0 if self.idle_since is None else time.monotonic() - self.idle_since

    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""
        self.idle_since = None
        self._writer.transport.abort()

    async def _serve_one(self) -> bool:
        """Answer one request; returns whether another one may follow."""
        self.idle_since = time.monotonic()
        first = await asyncio.wait_for(self._reader.read(1), self._read_s)
        self.idle_since, began = None, time.monotonic()
        if not first:
            return False
        head, body, response = await self._answer(first)
        reusable = head is not None and head.keep_alive and body is not None and body.whole
        close = self._service.stopping or not reusable
        await self._send(head, response, began, close=close)
        return not close

    async def _answer(self, first: bytes) -> tuple[Head | None, Body | None, Response]:
        head, body = None, None
        try:
            head = await self._read_head(first)
            body = Body(self._reader, self._writer, head)
            return head, body, await self._service.answer(head, body)
        except HttpError as cause:
            if isinstance(cause, BusyError):
                self._service.metrics.rejected[cause.reason] += 1
            return head, body, error_response(cause)
        except (ConnectionError, EOFError, ssl.SSLError):
            raise
        except Exception as cause:  # a fault of the runtime or of ours must not end the service
            _log.error("%s: %s", type(cause).__name__, printable(str(cause)))
            _log.debug("", exc_info=True)
            return head, body, error_response(HttpError(500, "service: expected an answer, got a fault; see its log"))
        finally:
            if body is not None:
                body.release()

    async def _read_head(self, first: bytes) -> Head:
        try:
            return await asyncio.wait_for(read_head(self._reader, first), self._read_s)
        except asyncio.TimeoutError:
            raise HttpError(408, f"headers: expected all within {self._read_s:g} s, got a part") from None

    async def _send(self, head: Head | None, response: Response, began: float, *, close: bool) -> None:
        with_body = head is None or head.method != "HEAD"
        self._service.count(head, response.status)
        self._writer.write(response.encode(close=close, with_body=with_body))
        method, path = (head.method, head.path[:LOGGED]) if head is not None else ("-", "-")
        milliseconds = 1000 * (time.monotonic() - began)
        _log.info("%s %s %s %d %.1f ms", self.client, method, printable(path), response.status, milliseconds)
        await asyncio.wait_for(self._writer.drain(), self._read_s)
        if close:
            await self._linger()

    async def _linger(self) -> None:
        """Say that nothing more comes, and drop what still arrives for a moment."""
        if self._writer.can_write_eof():
            self._writer.write_eof()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._drop(), LINGER_S)

    async def _drop(self) -> None:
        while await self._reader.read(CHUNK_BYTES):
            pass
