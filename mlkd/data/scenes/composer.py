"""Composes the scenes of a split, in several processes if there are many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from os import sched_getaffinity

import numpy as np
from PIL import Image

from mlkd.data.scenes.compose import Pools, Scene, compose
from mlkd.data.scenes.cutouts import Cutout

CHUNK = 250


def pools(cutouts: list[Cutout], split: str) -> Pools:
    """Group the split's cut-outs by label and near-duplicate group."""
    groups: defaultdict[int, defaultdict[str, list[Cutout]]] = defaultdict(lambda: defaultdict(list))
    for cutout in cutouts:
        if cutout.split == split:
            groups[cutout.label][cutout.group].append(cutout)
    return {label: list(of_label.values()) for label, of_label in groups.items()}


@dataclass(frozen=True)
class Composer:
    """All that a process needs to compose scenes of one split."""

    pools: Pools
    themes: list[list[int]]
    photographs: list[Image.Image]
    image_px: int
    seeds: tuple[int, int]

    def scene(self, index: int) -> Scene:
        rng = np.random.default_rng([*self.seeds, index])
        return compose(self.pools, self.themes, self.photographs, self.image_px, rng)


_composers: list[Composer] = []  # in a worker process: the one that it was started with


def _start_worker(composer: Composer) -> None:
    _composers[:] = [composer]


def _chunk(start: int, stop: int) -> list[Scene]:
    return [_composers[0].scene(index) for index in range(start, stop)]


def scenes(composer: Composer, count: int) -> Iterator[Scene]:
    """All scenes in order; several processes compose many scenes, with equal results."""
    processes = min(len(sched_getaffinity(0)), 8)
    if processes == 1 or count < 4 * CHUNK:
        yield from (composer.scene(index) for index in range(count))
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (composer,)) as pool:
        starts = range(0, count, CHUNK)
        for part in pool.map(_chunk, starts, [min(start + CHUNK, count) for start in starts]):
            yield from part
