"""Throughput: the most images a second that an engine gives, searched over batches and streams; never a latency."""

from __future__ import annotations

import contextlib
import functools
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from benchmarks.device.output import Throughput
from export.backends import Session

BATCHES = (1, 2, 4, 8, 16, 32)
TRIAL_S = 0.2
WORSE = 0.95  # of the best before: less is no noise any more
AGAIN = 3  # trials of a setting that a search has found

Trial = Callable[[int, int], float]  # batch, streams -> images a second


def search(trial: Trial, cores: int, most: int | None = None) -> Throughput:
    """The best batch, 1 to 32 or `most`, and streams, 1 to `cores`: each number of streams tries batches from 1.

    Batches end where one is worse by 5 %, streams where one more gives nothing: two trials of one setting may differ.
    """
    tried: list[tuple[int, int, float]] = []
    best = 0.0
    for streams in range(1, cores + 1):
        of_streams = 0.0
        for batch in (batch for batch in BATCHES if batch <= (most or BATCHES[-1])):
            rate = trial(batch, streams)
            tried.append((batch, streams, rate))
            if rate < WORSE * of_streams:
                break
            of_streams = max(of_streams, rate)
        if of_streams <= best:
            break
        best = of_streams
    batch, streams, rate = max(tried, key=lambda trial: trial[2])
    return Throughput(images_per_second=rate, batch=batch, streams=streams, tried=tried)


def again(trial: Trial, batch: int, streams: int) -> Throughput:
    """The setting that a search has found, measured again: the median of three trials.

    The search's own rate for it is too high: of many noisy rates it is the highest.
    """
    rates = [trial(batch, streams) for _ in range(AGAIN)]
    tried = [(batch, streams, rate) for rate in rates]
    return Throughput(images_per_second=statistics.median(rates), batch=batch, streams=streams, tried=tried)


@contextlib.contextmanager
def trials(
    open_session: Callable[[], AbstractContextManager[Session]],
    pixels: Sequence[NDArray[np.uint8]],
) -> Iterator[Trial]:
    """A trial that drives a session a stream, each from a thread of its own; runtimes release Python's lock.

    `pixels` (1, H, W, 3) each.  Sessions stay open from trial to trial.
    """
    with contextlib.ExitStack() as opened:
        sessions: list[Session] = []

        def trial(batch: int, streams: int) -> float:
            while len(sessions) < streams:
                sessions.append(opened.enter_context(open_session()))
            images = np.concatenate(list(itertools.islice(itertools.cycle(pixels), batch)))
            return rate([functools.partial(session, images) for session in sessions[:streams]], batch, TRIAL_S)

        yield trial


def rate(
    streams: Sequence[Callable[[], object]],
    batch: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Images a second while each stream sends batch after batch for `seconds`, begun together after one to warm up.

    The time ends with the last stream; one that ended before it adds nothing.
    """
    ready = threading.Barrier(len(streams))

    def drive(query: Callable[[], object]) -> tuple[float, int, float]:
        try:
            query()
        except BaseException:
            ready.abort()
            raise
        ready.wait()
        start, done = clock(), 0
        while not done or clock() - start < seconds:
            query()
            done += 1
        return start, done, clock()

    with ThreadPoolExecutor(len(streams)) as pool:
        futures = [pool.submit(drive, query) for query in streams]
    failed = [cause for future in futures if (cause := future.exception()) is not None]
    if failed:  # the others only say that the barrier broke
        raise next((cause for cause in failed if not isinstance(cause, threading.BrokenBarrierError)), failed[0])
    done = [future.result() for future in futures]
    starts, counts, ends = zip(*done, strict=True)
    images: float = batch * sum(counts) / (max(ends) - min(starts))
    return images
