"""Bytes that a client sends to `tagger.pyz serve`, up to its tags."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import socket
from pathlib import Path

from export.tagger.service.access import Access
from export.tagger.service.connection import Connection
from export.tagger.service.limits import HEAD_BYTES, Limits
from export.tagger.service.service import Service
from export.tagger.tagger import Tagger
from scripts.torture.doors.annotations import images
from scripts.torture.doors.bundles import colours
from scripts.torture.doors.door import unwatched

STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [ -~]*\r\n")
_loop = asyncio.new_event_loop()


def request(content: bytes, folder: Path) -> None:  # noqa: ARG001
    """Everything that a client sends before it closes its side."""
    answered = _loop.run_until_complete(asyncio.wait_for(_answered(content), 30))
    statuses = STATUS.findall(answered)
    assert b"500" not in statuses, f"the service failed: {answered[-300:]!r}"
    assert not answered or answered.startswith(b"HTTP/1.1 "), f"no HTTP: {answered[:100]!r}"


async def _answered(content: bytes) -> bytes:
    ours, theirs = socket.socketpair()
    reader = asyncio.StreamReader(limit=HEAD_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await _loop.connect_accepted_socket(lambda: protocol, theirs)
    writer = asyncio.StreamWriter(transport, protocol, reader, _loop)
    served = asyncio.create_task(Connection(reader, writer, _service(), "client").run())
    answers, client = await asyncio.open_connection(sock=ours)
    client.write(content)
    client.write_eof()
    answered = await _all(answers)
    await served
    client.close()
    return answered


async def _all(answers: asyncio.StreamReader) -> bytes:
    pieces = []
    try:
        while piece := await answers.read(65_536):
            pieces.append(piece)
    except ConnectionError:
        pass
    return b"".join(pieces)


@functools.cache
def _service() -> Service:
    logging.getLogger("export").setLevel(logging.CRITICAL)
    with unwatched():
        tagger = Tagger.load(colours(), "onnxruntime-fp32")
        for name in ("3.png", "3.jpg"):
            tagger.tag(images() / name)
    return Service(tagger, Access(token=None, local=True), Limits(body_mb=1, bodies_mb=2, images=4, megapixels=1))
