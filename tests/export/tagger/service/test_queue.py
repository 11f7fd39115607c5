"""Requests that wait for a worker: in their order, not too many, not for too long."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from export.tagger.service.limits import Limits
from export.tagger.service.queue import Queue
from export.tagger.service.responses import BusyError


async def until(happened: Callable[[], bool]) -> None:
    while not happened():
        await asyncio.sleep(0.001)


async def proceed(queue: Queue, work: Callable[[], object], done: list[int], number: int = 0) -> None:
    async with queue.turn():
        await queue.run(work)
        done.append(number)


def test_a_full_queue_refuses_and_those_that_wait_proceed_in_order() -> None:
    async def run() -> list[int]:
        queue, free, done = Queue(1, Limits(queue=3)), threading.Event(), list[int]()
        tasks = [asyncio.create_task(proceed(queue, free.wait, done))]
        await until(lambda: queue.in_flight == 1)
        tasks += [asyncio.create_task(proceed(queue, free.wait, done, number)) for number in (1, 2, 3)]
        await until(lambda: queue.waiting == 3)
        with pytest.raises(BusyError, match="expected at most 3 requests") as raised:
            await proceed(queue, free.wait, done)
        assert (raised.value.status, raised.value.reason) == (503, "queue_full")
        free.set()
        await asyncio.gather(*tasks)
        assert (queue.in_flight, queue.waiting) == (0, 0)
        queue.close()
        return done

    assert asyncio.run(run()) == [0, 1, 2, 3]


def test_the_wait_is_limited_and_frees_the_place() -> None:
    async def run() -> None:
        queue, free, done = Queue(1, Limits(queue=1, queue_s=0.01)), threading.Event(), list[int]()
        working = asyncio.create_task(proceed(queue, free.wait, done))
        await until(lambda: queue.in_flight == 1)
        for _ in range(3):
            with pytest.raises(BusyError, match=r"expected a worker within 0\.01 s") as raised:
                await proceed(queue, free.wait, done)
            assert raised.value.reason == "queue_time"
        free.set()
        await working
        await proceed(queue, free.wait, done)
        assert done == [0, 0]
        queue.close()

    asyncio.run(run())


def test_work_that_fails_frees_its_worker() -> None:
    async def run() -> None:
        queue, done = Queue(1, Limits()), list[int]()
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await proceed(queue, lambda: 1 / 0, done)
        assert (queue.in_flight, queue.waiting) == (0, 0)
        queue.close()

    asyncio.run(run())
