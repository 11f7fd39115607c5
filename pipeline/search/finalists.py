"""Which candidates of a race are trained whole: three points of the front of latency against mAP."""

from __future__ import annotations

import math

from pipeline.search.race_rows import Race, RaceRow

SEARCH = "search"  # results are in runs/RECIPE.search, those of finalists in runs/RECIPE.ROLE
ROLES = BEST, KNEE, FASTEST = "best", "knee", "fastest"
LEAST = 3  # where the last rung has fewer, those that came next in the ranking are added


def select_finalists(race: Race) -> dict[str, tuple[str, ...]]:
    """Return the candidates of the finals with their roles, in the order best, knee, fastest.

    `best` has the highest mAP on select and `fastest` the lowest latency of the last rung; `knee` is the one of the
    others that lies furthest above the line between these two, of the logarithm of latency against mAP.
    """
    rows = _last_rung(race)
    best = min(rows, key=lambda row: (-_map(row), row.p90_ms))
    fastest = min(rows, key=lambda row: (row.p90_ms, -_map(row)))
    found = {best.candidate: [BEST]}
    others = [row for row in rows if row not in (best, fastest)]
    if others:
        found[max(others, key=lambda row: _above(row, fastest, best)).candidate] = [KNEE]
    found.setdefault(fastest.candidate, []).append(FASTEST)
    return {candidate: tuple(roles) for candidate, roles in found.items()}


def _last_rung(race: Race) -> list[RaceRow]:
    """The rows of the last rung, with the last rows of the next in the ranking where these are fewer than LEAST."""
    trained = {row.candidate: row for row in race.rows if row.select_map}  # rows of later rungs replace earlier ones
    last = max(row.rung or 0 for row in trained.values())
    rows = [row for row in trained.values() if row.rung == last]
    next_ones = [trained[name] for name in race.ranking if name in trained and trained[name].rung != last]
    return [*rows, *next_ones[: max(0, LEAST - len(rows))]]


def _map(row: RaceRow) -> float:
    assert row.select_map is not None, "only trained candidates are finalists"
    return row.select_map.value


def _above(row: RaceRow, *ends: RaceRow) -> float:
    """By how much the mAP is above that of the line between the ends at the same latency."""
    (x, y), (low_x, low_y), (high_x, high_y) = ((math.log(one.p90_ms), _map(one)) for one in (row, *ends))
    slope = (high_y - low_y) / (high_x - low_x) if high_x > low_x else 0.0
    return y - low_y - slope * (x - low_x)
