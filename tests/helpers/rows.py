"""Rows of a report, as a bench would measure them."""

from typing import Any

from benchmarks.schema import Percentiles, Row


def measured(name: str = "engine", p90: float | None = 1.0, accuracy: float | None = 0.5, **fields: Any) -> Row:
    """An engine that was measured on the device `here`, with a latency and a mAP."""
    latency = Percentiles(p50=p90, p90=p90)
    known = {"device": "here", "kind": "engine", "status": "measured", "end_to_end_ms": latency, "map": accuracy}
    return Row(name=name, **known | fields)
