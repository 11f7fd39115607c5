"""Which candidates of a race are trained whole."""

import pytest

from pipeline.search.finalists import select_finalists
from pipeline.search.race_rows import Race, RaceRow, SelectMap


def row(candidate: str, p90_ms: float, points: float, rung: int = 1) -> RaceRow:
    value = SelectMap(value=points / 100, low=None, high=None)
    return RaceRow(candidate=candidate, p90_ms=p90_ms, rung=rung, epochs=rung, select_map=value)


def race(*rows: RaceRow, ranking: str = "") -> Race:
    return Race(rows=list(rows), ranking=list(ranking or [one.candidate for one in rows]))


def test_best_knee_and_fastest() -> None:
    """From 1 ms with 40 to 4 ms with 50 the line has 45 at 2 ms: b is above it by 3, c at 2.8 ms by less."""
    rows = (row("a", 1, 40), row("b", 2, 48), row("c", 2.8, 48.5), row("d", 4, 50), row("e", 3.9, 41))
    assert select_finalists(race(*rows)) == {"d": ("best",), "b": ("knee",), "a": ("fastest",)}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ((row("a", 1, 40),), {"a": ("best", "fastest")}),
        ((row("a", 1, 40), row("b", 2, 50)), {"b": ("best",), "a": ("fastest",)}),
        ((row("a", 1, 50), row("b", 2, 40)), {"a": ("best", "fastest"), "b": ("knee",)}),
        ((row("a", 1, 50), row("b", 2, 50)), {"a": ("best", "fastest"), "b": ("knee",)}),
        ((row("a", 1, 40), row("b", 1, 50)), {"b": ("best", "fastest"), "a": ("knee",)}),
    ],
)
def test_a_candidate_may_have_two_roles(rows: tuple[RaceRow, ...], expected: dict[str, tuple[str, ...]]) -> None:
    assert select_finalists(race(*rows)) == expected


def test_the_last_rung_counts_and_the_next_in_the_ranking_fill_it_up() -> None:
    """a and d had more in the first rung than b and c have in the second, where only these were trained further."""
    first = (row("a", 1, 60), row("b", 2, 30), row("c", 3, 31), row("d", 4, 59), RaceRow(candidate="e", p90_ms=0.5))
    second = (row("b", 2, 45, rung=2), row("c", 3, 50, rung=2))
    assert select_finalists(race(*first, *second, ranking="cbda")) == {
        "d": ("best",),
        "c": ("knee",),
        "b": ("fastest",),
    }
    assert select_finalists(race(*first, *second, row("d", 4, 59, rung=2), ranking="dcba")) == {
        "d": ("best",),
        "c": ("knee",),
        "b": ("fastest",),
    }
