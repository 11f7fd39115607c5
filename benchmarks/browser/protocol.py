"""The protocol of `benchmarks.device.protocol` in a page: what the page answers is checked, statistics are the same."""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.device import timing
from benchmarks.device.output import ChainMeasurement, Samples, check_printable
from benchmarks.device.protocol import PARTS, Settings, summarize_sustained
from benchmarks.device.sensors import Sensors
from export.web.chromium import BrowserError, Tab

STEPS = 100  # of the clock in a sample of the engine at least: shorter runs are timed several at once
CHUNK = 1 << 18  # scores that a page returns at once


@dataclass(frozen=True)
class Page:
    """An open page with `protocol.js`."""

    tab: Tab

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page and return its JSON; BrowserError where it throws or takes too long."""
        return self.tab.run(f"return await (await import('./protocol.js')).{function}(...{json.dumps(arguments)})")

    def numbers(self, function: str, *arguments: Any, least: int = 1) -> NDArray[np.float64]:
        """Call a function that returns a number or a list of at least `least`; BrowserError for anything else."""
        answer = self.call(function, *arguments)
        listed = answer if isinstance(answer, list) else [answer]
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in listed):
            raise BrowserError(f"{function}: expected finite numbers from the page, got {str(answer)[:60]}")
        if len(listed) < least:
            raise BrowserError(f"{function}: expected at least {least} numbers from the page, got {len(listed)}")
        return np.array(listed, dtype=np.float64)


@dataclass(frozen=True)
class Opened:
    """Models that a page has open."""

    load_ms: float
    version: str


def open_models(page: Page, models: list[str], images: int = 0) -> Opened:
    """Let the page open models and keep as many images in memory."""
    answer = page.call("open", models, images)
    try:
        return Opened(float(answer["load_ms"]), check_printable(f"ONNX Runtime Web (WASM) {answer['version']}"))
    except (KeyError, TypeError, ValueError) as cause:
        raise BrowserError(f"open: expected a time and a version from the page, got: {cause!r}") from None


def measure(page: Page, settings: Settings, sensors: Sensors) -> ChainMeasurement:
    """First query, warm-up, then the queries, end to end and engine only, as the native protocol has them."""
    first = _queries(page, 0, 1, 0.0)
    warm = _warm_up(page, settings.warm_up_s)
    state, meter = sensors.state(), sensors.energy()
    whole = _queries(page, 0, settings.queries, settings.least_s)
    energy = sensors.used(meter, queries=len(whole))
    infer_ms = float(np.median(whole[:, PARTS.index("infer")]))
    repeats = max(1, math.ceil(STEPS * page.numbers("resolution")[0] / max(infer_ms, 1e-3)))
    engine = page.numbers("engine", settings.queries, settings.least_s, repeats, least=settings.queries)
    sustained = None
    if settings.sustained_s:
        before = sensors.state()
        without_pause = _queries(page, 0, 1, settings.sustained_s).sum(axis=1)
        sustained = summarize_sustained(without_pause, sensors.changes(before))
    return ChainMeasurement(
        first_ms=float(first.sum()),
        warm_up=warm,
        samples=Samples(
            end_to_end_ms=whole.sum(axis=1).tolist(),
            engine_ms=engine.tolist(),
            **{f"{part}_ms": whole[:, at].tolist() for at, part in enumerate(PARTS)},
        ),
        energy=energy,
        **vars(sensors.changes(state)),
        gpu_memory_mb=None,
        sustained=sustained,
    )


def scores(page: Page, folder: str, images: int, models: int, labels: int) -> NDArray[np.float32]:
    """Scores (models, images, labels) of the images of a folder, in pieces; BrowserError for another number of them."""
    count = max(1, CHUNK // (models * labels))
    parts = []
    for start in range(0, images, count):
        size = min(count, images - start)
        try:
            content = base64.b64decode(page.call("score", folder, start, size), validate=True)
            parts.append(np.frombuffer(content, "<f4").reshape(size, models, labels))
        except (TypeError, ValueError, binascii.Error) as cause:
            raise BrowserError(
                f"score: expected {size} x {models} x {labels} scores from the page, got: {cause}"
            ) from None
    return np.ascontiguousarray(np.concatenate(parts).swapaxes(0, 1), dtype=np.float32)


def _warm_up(page: Page, cap_s: float) -> timing.WarmUp:
    """Windows of queries until three of them agree, as `timing.warm_up`."""
    start, queries, medians = time.monotonic(), 0, list[float]()
    while (seconds := time.monotonic() - start) < cap_s:
        window = _queries(page, queries, timing.WINDOW, timing.WINDOW_S)
        queries += len(window)
        medians.append(float(np.median(window.sum(axis=1))))
        if timing.settled(medians):
            return timing.WarmUp(True, queries, time.monotonic() - start)
    return timing.WarmUp(False, queries, seconds)


def _queries(page: Page, first: int, least: int, least_s: float) -> NDArray[np.float64]:
    """Milliseconds (Q, parts) of queries."""
    readings = len(PARTS) + 1
    marks = page.numbers("queries", first, least, least_s, least=least * readings)
    if len(marks) % readings:
        raise BrowserError(f"queries: expected {readings} times each from the page, got {len(marks)} in all")
    return np.diff(marks.reshape(-1, readings), axis=1)
