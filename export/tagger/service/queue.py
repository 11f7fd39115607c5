"""The queue of requests and the threads that tag their images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from export.tagger.service.limits import Limits
from export.tagger.service.responses import BusyError

T = TypeVar("T")


class Queue:
    """Lets as many requests proceed as there are workers; the others wait in their order, within the limits."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tagger")
        self.waiting = self.in_flight = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a worker.  Raises BusyError if too many requests wait, or for too long."""
        if self._slots.locked() and self.waiting >= self._limits.queue:
            raise BusyError("queue_full", f"queue: expected at most {self._limits.queue} requests, got more; try again")
        self.waiting += 1
        try:
            await asyncio.wait_for(self._slots.acquire(), self._limits.queue_s)
        except asyncio.TimeoutError:
            message = f"queue: expected a worker within {self._limits.queue_s:g} s, got none; try again"
            raise BusyError("queue_time", message) from None
        finally:
            self.waiting -= 1
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._slots.release()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a worker's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Start nothing more; threads at work are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
