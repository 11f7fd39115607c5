"""The queue of requests and the threads that tag their images."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from export.tagger.service.limits import Limits
from export.tagger.service.responses import BusyError

T = TypeVar("T")
S = TypeVar("S")


class Queue:
    """Gives the workers to requests in turn, one call each; only the event loop uses it.

    A request waits for one worker at a time, so that its next image comes after the next images of all others.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        self.limits = limits
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tagger")
        self._idle = workers
        self._line: deque[asyncio.Future[None]] = deque()
        self.waiting = self.in_flight = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait for a worker.  Raises BusyError if too many requests wait, or for too long."""
        if not self._idle and self.waiting >= self.limits.queue:
            raise BusyError("queue_full", f"queue: expected at most {self.limits.queue} requests, got more; try again")
        self.waiting += 1
        try:
            message = f"queue: expected a worker within {self.limits.queue_s:g} s, got none; try again"
            await self.take(asyncio.get_running_loop().time() + self.limits.queue_s, BusyError("queue_time", message))
        finally:
            self.waiting -= 1
        self.in_flight += 1
        turn = Turn(self)
        try:
            yield turn
        finally:
            self.in_flight -= 1
            turn.end()

    async def take(self, until: float, late: BusyError) -> None:
        """Wait for a worker behind those that wait already.  Raises `late` if it is not idle by then."""
        loop = asyncio.get_running_loop()
        if loop.time() >= until:
            raise late
        place = loop.create_future()
        self._line.append(place)
        if self._idle:
            self._idle -= 1
            self.free()
        expiry = loop.call_at(until, _expire, place, late)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:  # the worker came at the same moment
                self.free()
            raise
        finally:
            expiry.cancel()

    def free(self) -> None:
        """Give a worker to the first in line."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._idle += 1

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Let the worker that was taken call a function."""
        return self._pool.submit(function, *arguments)

    def free_after(self, work: Future[Any]) -> None:
        """Free the worker after its work, whether or not anyone waits for the result."""
        loop = asyncio.get_running_loop()

        def done(_: Future[Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                loop.call_soon_threadsafe(self.free)

        work.add_done_callback(done)

    def close(self) -> None:
        """Start nothing more; threads at work are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Turn:
    """The calls of one request, whose first worker is taken; after `tag_s` seconds no other call starts."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._has_worker = queue, True
        self._until = asyncio.get_running_loop().time() + queue.limits.tag_s

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that takes little time in the thread of the first worker, before `map`."""
        assert self._has_worker
        return await asyncio.wrap_future(self._queue.submit(function, *arguments))

    async def map(self, function: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """Call a function for each item, by all idle workers.  Raises BusyError if one could not start in time."""
        started: list[asyncio.Future[T]] = []
        try:
            for item in items:
                await self._wait()
                work = self._queue.submit(function, item)
                self._queue.free_after(work)
                started.append(asyncio.wrap_future(work))
            return await asyncio.gather(*started)
        finally:
            for future in started:
                future.cancel()

    def end(self) -> None:
        """Return a worker that was not used."""
        if self._has_worker:
            self._queue.free()

    async def _wait(self) -> None:
        if not self._has_worker:
            expected = f"expected to start the last image within {self._queue.limits.tag_s:g} s, got more images"
            await self._queue.take(
                self._until, BusyError("tag_time", f"tagging: {expected}; send fewer or smaller ones")
            )
        self._has_worker = False


def _expire(place: asyncio.Future[None], late: BusyError) -> None:
    if not place.done():
        place.set_exception(late)
