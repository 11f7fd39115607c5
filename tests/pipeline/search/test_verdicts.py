"""Candidates against a budget."""

from typing import Any

import pytest

from benchmarks.schema import Percentiles
from pipeline.recipe.grid import Grid
from pipeline.recipe.search import Search
from pipeline.search.rows import Row, Verdict, check_kept, judge


def search(**budget: float) -> Search:
    return Search(students=Grid({"image_px": (32,)}), **budget)


def row(p90: float | None, mb: float = 1.0, *, device: str = "here", engine: str = "int8", **more: Any) -> Row:
    times = None if p90 is None else Percentiles(p50=p90 / 2, p90=p90)
    return Row(candidate="a", device=device, engine=engine, megabytes=mb, end_to_end_ms=times, **more)


def verdict(*rows: Row, **budget: float) -> Verdict:
    return judge("a", rows, search(**budget))


def test_one_engine_of_each_device_has_to_keep_every_budget() -> None:
    fast, small = row(1.0, 9.0, engine="fp32"), row(3.0, 1.0)
    kept = verdict(fast, small, row(3.5, device="pi"), max_p90_ms=3.5, max_mb=4)
    assert kept.kept
    assert {device: best.engine for device, best in kept.fastest.items()} == {"here": "int8", "pi": "int8"}
    assert kept.p90_ms == 3.5
    out = verdict(fast, small, row(3.5, device="pi"), max_p90_ms=3.4, max_mb=4)
    assert out.misses == ["pi: p90 3.50 ms, 0.10 ms over"]
    assert out.excess == pytest.approx(0.1 / 3.4)
    assert verdict(fast, row(2.0, engine="bf16"), max_p90_ms=4).fastest["here"] == fast
    assert verdict(fast, small, max_p90_ms=2, max_mb=4).misses == ["here: p90 3.00 ms, 1.00 ms over"]
    assert verdict(fast, max_mb=4).misses == ["here: fp32 9.00 MB, 5.00 MB over"]


def test_a_device_without_times_gives_the_reason() -> None:
    gone = row(None, device="pi", reason="killed")
    out = verdict(row(1.0), gone, row(None, device="pi", engine="fp32", reason="killed"), max_p90_ms=2)
    assert (out.misses, out.excess, out.p90_ms) == (["pi: killed"], None, float("inf"))
    assert verdict(row(1.0), row(None, engine="fp32", reason="killed"), max_p90_ms=2).kept, "another engine runs"


def test_nothing_within_the_budget_names_the_nearest_and_by_how_much() -> None:
    budget = search(max_p90_ms=1.0, max_mb=0.8)
    near, far = judge("near", [row(1.1, 0.5)], budget), judge("far", [row(0.9, 1.8)], budget)
    broken = judge("broken", [row(None, reason="no such operator")], budget)
    with pytest.raises(
        ValueError,
        match=r"\(max_p90_ms 1, max_mb 0.8\), got none of 3; nearest is near \(here: p90 1.10 ms, 0.10 ms over\)",
    ):
        check_kept([far, near, broken], budget)
    with pytest.raises(ValueError, match="that runs, got none of 1; broken: here: no such operator"):
        check_kept([broken], budget)
    check_kept([near, judge("a", [row(0.5, 0.5)], budget)], budget)
