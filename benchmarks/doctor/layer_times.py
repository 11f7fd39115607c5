"""Profile an engine in a process of its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.doctor.attribution import attribute, read_operators
from benchmarks.doctor.diagnosis import Built, read_layers, unreadable_reason
from benchmarks.sections import EngineTimes


def profile(engine: Built, graph: Path) -> EngineTimes:
    """Return where the time of an engine goes, or why its runtime does not tell; `graph` is the exported float one."""
    reason = unreadable_reason(engine.backend)
    if reason is None:
        try:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                return pool.submit(attribute_layers, engine, graph).result()
        except Exception as cause:  # runtimes raise classes of their own
            reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
    return EngineTimes(engine=engine.name, reason=reason)


def attribute_layers(engine: Built, graph: Path) -> EngineTimes:
    """Profile an engine in this process."""
    layers = read_layers(engine)
    total = sum(layer.milliseconds for layer in layers)
    return EngineTimes(engine=engine.name, profiled_ms=total, parts=attribute(layers, read_operators(graph)))
