"""The front against a brute-force oracle."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report.pareto import front, front_line, overlapping, paired, undecided
from benchmarks.report.rows import ReportRow
from tests.helpers.rows import measured

FEW = st.sampled_from([1.0, 2.0, 3.0, 5.0, 8.0])  # few values, so that ties are common


def row(at: int, latency: float | None, accuracy: float | None, **more: Any) -> ReportRow:
    return ReportRow(at=at, **vars(measured(f"r{at}", latency, accuracy, **more)))


def beaten(a: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in others)


@given(st.lists(st.tuples(FEW, FEW), max_size=12))
def test_front_is_what_nobody_beats(points: list[tuple[float, float]]) -> None:
    kept = front([row(at, latency, accuracy / 10) for at, (latency, accuracy) in enumerate(points)])
    assert sorted(r.at for r in kept) == [at for at, point in enumerate(points) if not beaten(point, points)]
    assert [r.latency for r in kept] == sorted(r.latency or 0 for r in kept)


def test_references_and_rows_that_did_not_run_are_no_candidates() -> None:
    engine = row(0, 5.0, 0.5)
    others = [
        row(1, 1.0, 0.9, kind="reference"),
        row(2, 1.0, 0.9, status="built, not run"),
        row(3, None, 0.9),
        row(4, 1.0, None),
    ]
    assert front([*others, engine]) == [engine]


def test_overlap_is_told_only_where_intervals_meet() -> None:
    a = row(0, 1.0, 0.50, map_low=0.48, map_high=0.52)
    b = row(1, 2.0, 0.53, map_low=0.51, map_high=0.55)
    c = row(2, 3.0, 0.60, map_low=0.58, map_high=0.62)
    assert overlapping([a, b, c]) == [(a, b)]
    assert front_line([a, b, c], [a, b, c]) == ("r0 → r1 → r2. No significant difference in mAP between r0 and r1.")


def test_paired_intervals_tell_apart_what_those_of_map_do_not() -> None:
    a = row(0, 1.0, 0.50, map_low=0.48, map_high=0.52, delta_low=-0.022, delta_high=-0.018)
    b = row(1, 2.0, 0.52, map_low=0.50, map_high=0.54, delta_low=-0.001, delta_high=0.001)
    assert overlapping([a, b]) == []
    assert paired([a, b]) == [(a, b)]
    assert "intervals of r0 and r1 overlap, but their paired difference is significant" in front_line([a, b], [a, b])
    other_model = row(1, 2.0, 0.52, map_low=0.50, map_high=0.54, delta_low=-0.001, delta_high=0.001, model="teacher")
    assert overlapping([a, other_model]) == [(a, other_model)]  # paired against other scores


def test_a_slower_engine_whose_interval_reaches_the_front_is_not_called_worse() -> None:
    best = row(0, 1.0, 0.50, map_low=0.48, map_high=0.52)
    near = row(1, 2.0, 0.49, map_low=0.47, map_high=0.51)
    worse = row(2, 3.0, 0.40, map_low=0.38, map_high=0.42)
    assert undecided([best, near, worse], [best]) == [near]
    assert front_line([best, near, worse], [best]).endswith("Slower, with no significant difference in mAP: r1.")
