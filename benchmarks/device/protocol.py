"""How one chain from image bytes to labels is measured in one process, whatever computes its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.device import timing
from benchmarks.device.output import ChainMeasurement, Samples, SensorChanges, Sustained
from benchmarks.device.sensors import Sensors

PARTS = ("decode", "resize", "infer", "post")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One process of a measurement; `threads` None leaves the number in the manifest.

    Queries go on until there are `queries` of them and `least_s` seconds are over.  `throughput` searches for the best
    batch and streams afterwards, or measures at those that it names; `sustained_s` above 0 goes on end to end for so
    long.
    """

    queries: int = 256
    least_s: float = 0.0
    threads: int | None = None
    warm_up_s: float = 10.0
    throughput: bool | tuple[int, int] = False
    sustained_s: float = 0.0

    def __post_init__(self) -> None:
        if self.queries < 1 or (self.threads is not None and self.threads < 1):
            raise ValueError(f"bench: expected queries and threads of at least 1, got {self}")
        if not all(0 <= seconds < float("inf") for seconds in (self.least_s, self.warm_up_s, self.sustained_s)):
            raise ValueError(f"bench: expected seconds of at least 0, got {self}")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The parts of a query; `scores` is the engine alone: uint8 (B, H, W, 3) to float32 (B, L)."""

    decode: Callable[[bytes], Any]
    resize: Callable[[Any], NDArray[np.uint8]]  # (H, W, 3)
    scores: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    decide: Callable[[NDArray[np.float32]], object]  # (L,)

    def parts(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """From bytes to labels, as they are timed."""
        steps = (self.decode, self.resize, lambda pixels: self.scores(pixels[None])[0], self.decide)
        return list(zip(PARTS, steps, strict=True))

    def pixels(self, content: Sequence[bytes]) -> list[NDArray[np.uint8]]:
        """What the engine gets, (1, H, W, 3) each."""
        return [self.resize(self.decode(image))[None] for image in content]


def measure(chain: Chain, content: Sequence[bytes], settings: Settings, sensors: Sensors) -> ChainMeasurement:
    """First query, warm-up, then the queries, end to end and engine only; times in ms, every sample included.

    Energy is that of the end-to-end queries, clock and temperature are read before and after all queries.
    """
    parts = chain.parts()
    first = timing.time_queries(parts, content[:1])
    turn = timing.repeated(content, 1, float("inf"))
    warm = timing.warm_up(lambda: timing.time_queries(parts, [next(turn)]), cap_s=settings.warm_up_s)
    state, meter = sensors.state(), sensors.energy()
    whole = timing.time_queries(parts, timing.repeated(content, settings.queries, settings.least_s))
    energy = sensors.used(meter, queries=len(whole.whole))
    pixels = chain.pixels(content)
    engine = timing.time_queries(
        [("engine", chain.scores)], timing.repeated(pixels, settings.queries, settings.least_s)
    )
    samples = Samples(
        end_to_end_ms=whole.whole.tolist(),
        engine_ms=engine.whole.tolist(),
        **{f"{name}_ms": part.tolist() for name, part in whole.parts.items()},
    )
    return ChainMeasurement(
        first_ms=float(first.whole[0]),
        warm_up=warm,
        samples=samples,
        energy=energy,
        **vars(sensors.changes(state)),
        gpu_memory_mb=sensors.gpu_memory_mb(),
        sustained=sustain(chain, content, settings.sustained_s, sensors) if settings.sustained_s else None,
    )


def sustain(chain: Chain, content: Sequence[bytes], seconds: float, sensors: Sensors) -> Sustained:
    """End to end for `seconds`; p90 of the first and last minute, or tenth if that is shorter, shows throttling."""
    state = sensors.state()
    samples = timing.time_queries(chain.parts(), timing.repeated(content, 1, seconds)).whole
    return summarize_sustained(samples, sensors.changes(state))


def summarize_sustained(samples: NDArray[np.float64], changes: SensorChanges) -> Sustained:
    """Percentiles of the milliseconds (Q,) of queries without a pause, and of those at first and at last."""
    ends = np.cumsum(samples) / 1e3
    window = min(60.0, ends[-1] / 10)
    p50, p90, p99 = np.percentile(samples, [50, 90, 99])
    return Sustained(
        seconds=float(ends[-1]),
        p50=float(p50),
        p90=float(p90),
        p99=float(p99),
        first_p90=float(np.percentile(samples[ends - samples / 1e3 < window], 90)),  # those that began in it
        last_p90=float(np.percentile(samples[ends > ends[-1] - window], 90)),  # those that ended in it
        **vars(changes),
    )
