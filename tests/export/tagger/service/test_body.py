"""Bodies in memory: one copy each, counted until they are released."""

import asyncio
import socket

from export.tagger.service.body import Body, Budget
from export.tagger.service.head import parse_head
from export.tagger.service.limits import Limits


def test_a_body_is_handed_over_and_counts_until_it_is_released() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            head = parse_head(["POST /tag HTTP/1.1", "Host: localhost", "Content-Length: 5"])
            body, budget = Body(reader, writer, head), Budget(5)
            theirs.sendall(b"hello")
            await body.read(Limits(), budget, 10)
            assert (body.size, budget.held) == (5, 5)
            assert (body.take(), body.take()) == (b"hello", b""), "it holds no second copy"
            assert (body.size, budget.held) == (5, 5)
            assert not body.is_client_gone()
            for _ in range(2):
                body.release()
                assert budget.held == 0
        while not body.is_client_gone():
            await asyncio.sleep(0.001)
        writer.close()

    asyncio.run(run())
