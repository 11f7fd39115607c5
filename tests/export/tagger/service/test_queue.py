"""Requests that wait for a worker: in turn, not too many, not for too long."""

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
    async with queue.turn() as turn:
        await turn.map(lambda _: work(), [0])
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


class Calls:
    """Records calls; the first one lasts until `free` is set."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.free = threading.Event()

    def __call__(self, name: str) -> str:
        self.names.append(name)
        self.free.wait()
        return name


async def tag(queue: Queue, calls: Calls, name: str, count: int) -> list[str]:
    async with queue.turn() as turn:
        return await turn.map(calls, [f"{name}{number}" for number in range(count)])


async def only_first_was_called(queue: Queue, calls: Calls) -> None:
    """Another request gets the worker when the call ends that has begun, and no other call began."""
    done: list[int] = []
    calls.free.set()
    await proceed(queue, bool, done)
    assert calls.names == ["0"]
    assert done == [0]
    queue.close()


def test_requests_take_the_worker_in_turn_one_image_each() -> None:
    async def run() -> None:
        queue, calls = Queue(1, Limits()), Calls()
        large = asyncio.create_task(tag(queue, calls, "large", 4))
        await until(lambda: calls.names == ["large0"])
        others = [asyncio.create_task(tag(queue, calls, name, 2)) for name in ("a", "b")]
        await until(lambda: queue.waiting == 2)
        calls.free.set()
        assert await asyncio.gather(large, *others) == [
            [f"large{number}" for number in range(4)],
            ["a0", "a1"],
            ["b0", "b1"],
        ]
        assert calls.names == ["large0", "large1", "a0", "b0", "large2", "a1", "b1", "large3"]
        queue.close()

    asyncio.run(run())


def test_a_body_is_read_by_the_worker_of_its_first_image() -> None:
    async def run() -> None:
        queue, calls = Queue(1, Limits(tag_s=1e-9)), Calls()

        async def read_and_tag(name: str) -> list[str]:
            async with queue.turn() as turn:
                return await turn.map(calls, [await turn.run(name.upper)])

        calls.free.set()
        assert await asyncio.gather(*map(read_and_tag, "ab")) == [["A"], ["B"]]
        assert queue.in_flight == 0
        queue.close()

    asyncio.run(run())


def test_a_request_alone_uses_all_workers() -> None:
    async def run() -> None:
        queue, calls = Queue(3, Limits()), Calls()
        tagging = asyncio.create_task(tag(queue, calls, "", 5))
        await until(lambda: len(calls.names) == 3)
        calls.free.set()
        assert await tagging == list("01234")
        queue.close()

    asyncio.run(run())


def test_no_image_starts_after_the_time_of_a_request() -> None:
    async def run() -> None:
        queue, calls = Queue(1, Limits(tag_s=0.01)), Calls()
        with pytest.raises(BusyError, match=r"expected to start the last image within 0\.01 s") as raised:
            await tag(queue, calls, "", 3)
        assert (raised.value.status, raised.value.reason) == (503, "tag_time")
        await only_first_was_called(queue, calls)

    asyncio.run(run())


def test_a_request_that_is_cancelled_starts_no_other_image() -> None:
    async def run() -> None:
        queue, calls = Queue(1, Limits()), Calls()
        tasks = [asyncio.create_task(tag(queue, calls, "", 3))]
        await until(lambda: calls.names == ["0"])
        tasks.append(asyncio.create_task(tag(queue, calls, "waits", 3)))
        await until(lambda: queue.waiting == 1)
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True)
        )
        assert (queue.in_flight, queue.waiting) == (0, 0)
        await only_first_was_called(queue, calls)

    asyncio.run(run())


def test_a_worker_that_comes_while_its_request_is_cancelled_is_not_lost() -> None:
    async def run() -> None:
        queue, done = Queue(1, Limits()), list[int]()
        async with queue.turn():
            waits = asyncio.create_task(proceed(queue, bool, done, 1))
            await until(lambda: queue.waiting == 1)
        waits.cancel()  # it has the worker, but has not run since
        with pytest.raises(asyncio.CancelledError):
            await waits
        await proceed(queue, bool, done, 2)
        assert done == [2]
        queue.close()

    asyncio.run(run())
