"""The numbers of the protocol and what is said of them."""

import pytest

from benchmarks.config import Bench


@pytest.mark.parametrize("field", ["processes", "queries", "threads", "images", "timeout_s"])
def test_a_bench_without_work_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=rf"bench.{field}: expected more than 0, got 0"):
        Bench(**{field: 0})


@pytest.mark.parametrize("field", ["least_s", "warm_up_s", "sustained_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_time_that_cannot_be_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"bench.{field}: expected at least 0, got {value}"):
        Bench(**{field: value})


def test_a_thorough_bench_has_what_was_asked_for_if_that_is_more() -> None:
    bench = Bench(queries=5000, processes=5).thorough()
    assert (bench.queries, bench.processes, bench.least_s, bench.sustained_s) == (5000, 5, 10.0, 600.0)
    assert Bench().thorough().queries == 1024


def test_the_protocol_says_what_was_done() -> None:
    told = Bench(queries=12).thorough().protocol()
    assert told["queries"] == "1024 and at least 10 s a process over 64 test images"
    assert "600 s" in told["sustained"]
    assert {"throughput", "sustained"}.isdisjoint(Bench(throughput=False).protocol())
