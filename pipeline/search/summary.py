"""The section of a report about its search: the finalists, and every candidate on every device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.schema import STUDENT
from benchmarks.sections import Screened, SearchResult, SearchStudent
from pipeline.recipe.search import Search
from pipeline.search.candidates import Candidate
from pipeline.search.race_rows import Race, RaceRow
from pipeline.search.rows import Row, Screen, Verdict


def search_result(
    search: Search,
    screen: Screen,
    race: Race,
    found: Mapping[str, Candidate],
    finals: Mapping[str, tuple[str, ...]],
    chosen: str,
) -> SearchResult:
    """Return what a report says of a search, without the mAP of its finalists on test.

    Args:
        search: Of the recipe.
        screen: Its candidates, timed.
        race: Its candidates, trained.
        found: All candidates by name.
        finals: The finalists with their roles.
        chosen: The finalist that is the student.
    """
    names = {name: STUDENT if name == chosen else roles[0] for name, roles in finals.items()}
    rows = {row.candidate: row for row in screen.rows}
    students = [
        SearchStudent(
            model=names[name],
            candidate=name,
            roles=list(finals[name]),
            image_px=found[name].model.image_px,
            parameters=rows[name].parameters,
            multiply_adds=rows[name].multiply_adds,
        )
        for name in sorted(finals, key=lambda name: name != chosen)
    ]
    points = [
        _screened(verdict, row, race.rows)
        for verdict in screen.verdicts
        for row in (verdict.fastest.values() or [Row(candidate=verdict.candidate, device="")])
    ]
    return SearchResult(max_p90_ms=search.max_p90_ms, max_mb=search.max_mb, students=students, screen=points)


def _screened(verdict: Verdict, row: Row, race: Sequence[RaceRow]) -> Screened:
    own = [one for one in race if one.candidate == verdict.candidate]
    trained = [one for one in own if one.select_map]
    last = trained[-1] if trained else None
    return Screened(
        candidate=verdict.candidate,
        device=row.device,
        engine=row.engine,
        p90_ms=row.end_to_end_ms.p90 if row.end_to_end_ms else None,
        megabytes=row.megabytes,
        kept=verdict.kept,
        select_map=last.select_map.value if last and last.select_map else None,
        epochs=last.epochs if last else None,
        reason="; ".join(verdict.misses) or next((one.reason for one in reversed(own) if one.reason), None),
    )
