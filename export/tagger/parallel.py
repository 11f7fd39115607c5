"""Tags many images: decoded and scored by several workers, returned in their order."""

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
AHEAD = 2  # batches per worker that are started and not returned yet

ImageFile = Path | bytes
Tagged = tuple[ImageFile, list[Tag] | UnreadableImageError]


def tag_many(
    tagger: Tagger,
    images: Iterable[ImageFile],
    *,
    threshold: float | None = None,
    top_k: int | None = None,
    labels: Collection[str] | None = None,
    batch: int = BATCH,
) -> Generator[Tagged, None, None]:
    """Yield each image with its tags, or with the error of an unreadable one, in order.

    A worker decodes up to `batch` images, then scores them together.  Images are read only as far ahead as the workers
    need.  Closing the generator stops the workers.

    `threshold`, `top_k` and `labels` are those of `Tagger.tag`.  ValueError for a wrong one before any image is read.
    """
    if batch < 1:
        raise ValueError(f"batch: expected at least 1, got {batch}")
    decide = functools.partial(tagger.decide, threshold=threshold, top_k=top_k, labels=labels)
    decide(np.zeros(len(tagger.manifest.labels), np.float32))
    return _in_order(functools.partial(_tag, tagger, decide), _batches(images, tagger.workers, batch), tagger.workers)


def _in_order(
    work: Callable[[Sequence[ImageFile]], list[Tagged]], batches: Iterator[list[ImageFile]], workers: int
) -> Generator[Tagged, None, None]:
    started: deque[Future[list[Tagged]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tagger")
    try:
        for batch in batches:
            started.append(pool.submit(work, batch))
            while started and (len(started) > AHEAD * workers or started[0].done()):
                yield from started.popleft().result()
        while started:
            yield from started.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(images: Iterable[ImageFile], workers: int, most: int) -> Iterator[list[ImageFile]]:
    """Batches that grow from 1, so that a few images occupy all workers and the first tags come immediately.

    They grow by a factor of 4, because OpenVINO compiles its kernels again for every new size, 30 ms in each session.
    """
    source = iter(images)
    for number in itertools.count():
        batch = list(itertools.islice(source, min(most, 4 ** min(number // workers, 8))))
        if not batch:
            return
        yield batch


def _tag(
    tagger: Tagger, decide: Callable[[NDArray[np.float32]], list[Tag]], images: Sequence[ImageFile]
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
