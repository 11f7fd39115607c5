"""Many images: decoded and scored on all workers at once, given back in the order they came in."""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.tagger.tagger import Tag, Tagger
from mlkd.core.images import UnreadableImageError

BATCH = 16
AHEAD = 2  # batches a worker that are begun and not given back

ImageSource = Path | bytes
Tagged = tuple[ImageSource, list[Tag] | UnreadableImageError]


def tag_many(
    tagger: Tagger,
    images: Iterable[ImageSource],
    *,
    threshold: float | None = None,
    top_k: int | None = None,
    labels: Collection[str] | None = None,
    batch: int = BATCH,
) -> Generator[Tagged, None, None]:
    """Each image with its tags, or with why it cannot be read, in order; closing the iterator ends the workers.

    A worker decodes up to `batch` images, then scores them together; only so many are read ahead that no worker
    waits.  Raises ValueError for a batch below 1 and a label that there is not, before any image is read.
    """
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    decide = functools.partial(tagger.decide, threshold=threshold, top_k=top_k, labels=labels)
    decide(np.zeros(len(tagger.manifest.labels), np.float32))
    return _in_order(functools.partial(_tag, tagger, decide), _batches(images, tagger.workers, batch), tagger.workers)


def _in_order(
    work: Callable[[Sequence[ImageSource]], list[Tagged]], batches: Iterator[list[ImageSource]], workers: int
) -> Generator[Tagged, None, None]:
    begun: deque[Future[list[Tagged]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tagger")
    try:
        for some in batches:
            begun.append(pool.submit(work, some))
            while begun and (len(begun) > AHEAD * workers or begun[0].done()):
                yield from begun.popleft().result()
        while begun:
            yield from begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(images: Iterable[ImageSource], workers: int, most: int) -> Iterator[list[ImageSource]]:
    """Growing from 1, so that few images keep all workers busy and the first tags come at once.

    By fours: OpenVINO compiles its kernels anew for a size that it has not seen, some 30 ms in each session.
    """
    source = iter(images)
    for number in itertools.count():
        some = list(itertools.islice(source, min(most, 4 ** min(number // workers, 8))))
        if not some:
            return
        yield some


def _tag(
    tagger: Tagger, decide: Callable[[NDArray[np.float32]], list[Tag]], images: Sequence[ImageSource]
) -> list[Tagged]:
    failed: dict[int, UnreadableImageError] = {}
    pixels = []
    for number, image in enumerate(images):
        try:
            pixels.append(tagger.resize(tagger.decode(image)))
        except UnreadableImageError as cause:
            failed[number] = cause
    scores = iter(tagger.scores(np.stack(pixels)) if pixels else ())
    return [(image, failed.get(number) or decide(next(scores))) for number, image in enumerate(images)]
