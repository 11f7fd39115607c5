"""Reference rows: teacher and student in eager torch, timed like the engines, from bytes to tags."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import machine, timing
from benchmarks.accuracy import Truth, accuracy
from benchmarks.run import BATCH, Bench
from mlkd import images
from mlkd.checkpoint import BEST, load_model
from mlkd.models import Tagger
from pipeline.result import sha256


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A net and its scores of the test set (N, L), with thresholds (L,) from its own scores of tune."""

    model: str
    folder: Path
    scores: NDArray[np.float32]
    thresholds: NDArray[np.float32]

    def row(self, truth: Truth, bench: Bench, pictures: Sequence[Path], *, seed: int) -> dict[str, Any]:
        """A row like an engine's, from one process."""
        file = self.folder / BEST
        began = time.perf_counter_ns()
        tagger = load_model(self.folder)
        load_ms = (time.perf_counter_ns() - began) / 1e6
        quality = accuracy(self.scores, truth, self.thresholds, replicates=bench.replicates, seed=seed)
        with quiet(bench.threads) as pinned:
            timed = latency(tagger, self.thresholds, [picture.read_bytes() for picture in pictures], bench)
        return {
            "name": f"{self.model}-torch",
            "kind": "reference",
            "model": self.model,
            "runtime": f"torch {torch.__version__}",
            "precision": "fp32",
            "provider": "cpu",
            "compute": "f32",
            "placed": 1.0,
            "built_here": False,
            "threads": bench.threads,
            "pinned": pinned,
            "status": "measured",
            "reason": None,
            "file": file.name,
            "sha256": sha256(file),
            "bytes": file.stat().st_size,
            "load_ms": load_ms,
            "peak_rss_mb": None,
            "spread": None,
            "unstable": None,
            "delta_map": None,
            **timed,
            **quality,
        }


def latency(tagger: Tagger, thresholds: NDArray[np.float32], content: Sequence[bytes], bench: Bench) -> dict[str, Any]:
    """The latency fields of a row; eager, one process."""

    def infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = tagger(torch.from_numpy(pixels)).logits.sigmoid().numpy()
        return scores

    chain = [
        ("decode", lambda picture: images.decode(picture, tagger.image_px)),
        ("resize", lambda picture: images.resize(picture, tagger.image_px)),
        ("infer", lambda pixels: infer(pixels[None])[0]),
        ("post", lambda scores: np.flatnonzero(scores >= thresholds)),
    ]
    turn = itertools.cycle(content)
    with torch.inference_mode():
        first = timing.time_queries(chain, content[:1])
        warm = timing.warm_up(lambda: timing.time_queries(chain, [next(turn)]), cap_s=bench.warm_up_s)
        whole = timing.time_queries(chain, itertools.islice(turn, bench.queries))
        tensors = [images.load(picture, tagger.image_px)[None] for picture in content]
        engine = timing.time_queries([("engine", infer)], itertools.islice(itertools.cycle(tensors), bench.queries))
        batch = np.concatenate(list(itertools.islice(itertools.cycle(tensors), BATCH)))
        batches = timing.time_queries([("engine", infer)], itertools.repeat(batch, max(5, bench.queries // BATCH)))
    return {
        "first_ms": float(first.whole[0]),
        "settled": warm.settled,
        "end_to_end_ms": timing.summary(whole.whole),
        "engine_ms": timing.summary(engine.whole),
        "parts_ms": {name: float(np.median(part)) for name, part in whole.parts.items()},
        "images_per_second_batch8": 1e3 * BATCH / float(np.median(batches.whole)),
    }


@contextmanager
def quiet(threads: int) -> Iterator[list[int] | None]:
    """So many threads of torch on as many cores, and afterwards as before; yields the cores."""
    before, allowed = torch.get_num_threads(), machine.allowed()
    torch.set_num_threads(threads)
    try:
        yield machine.pin(threads)
    finally:
        torch.set_num_threads(before)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, allowed)
