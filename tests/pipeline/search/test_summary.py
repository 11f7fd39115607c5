"""What a report says of a search."""

from benchmarks.schema import Percentiles
from benchmarks.sections import Screened
from mlkd.models.config import Model
from pipeline.recipe.grid import Grid
from pipeline.recipe.search import Search
from pipeline.search.candidates import Candidate
from pipeline.search.race_rows import Race, RaceRow, SelectMap
from pipeline.search.rows import Row, Screen, judge
from pipeline.search.summary import search_result


def test_students_and_candidates() -> None:
    search = Search(max_p90_ms=3.0, students=Grid({"image_px": (32, 48, 64, 80)}))
    found = {
        str(px): Candidate(name=str(px), model=Model(backbone="test_resnet", image_px=px)) for px in (32, 48, 64, 80)
    }
    rows = [
        timed("32", 1.0),
        timed("48", 2.0),
        timed("64", 4.0),
        Row(candidate="80", device="here", reason="no such operator"),
    ]
    verdicts = [judge(row.candidate, [row], search) for row in rows]
    race = Race(
        rows=[trained("32", 1, 0.5), trained("48", 1, 0.4), trained("48", 2, 0.6, reason="beaten")],
        ranking=["48", "32"],
    )
    finals = {"48": ("best",), "32": ("fastest",)}
    result = search_result(search, Screen(rows=rows, verdicts=verdicts), race, found, finals, "32")
    assert (result.max_p90_ms, result.max_mb) == (3.0, None)
    assert [(one.model, one.candidate, one.roles, one.image_px, one.parameters) for one in result.students] == [
        ("student", "32", ["fastest"], 32, 7),
        ("best", "48", ["best"], 48, 7),
    ]
    measured = {"device": "here", "engine": "int8", "megabytes": 0.25}
    assert result.screen == [
        Screened(candidate="32", p90_ms=1.0, kept=True, select_map=0.5, epochs=1, **measured),
        Screened(candidate="48", p90_ms=2.0, kept=True, select_map=0.6, epochs=2, reason="beaten", **measured),
        Screened(candidate="64", p90_ms=4.0, kept=False, reason="here: p90 4.00 ms, 1.00 ms over", **measured),
        Screened(candidate="80", device="", kept=False, reason="here: no such operator"),
    ]


def timed(candidate: str, p90: float) -> Row:
    times = Percentiles(p90=p90)
    return Row(candidate=candidate, device="here", engine="int8", parameters=7, megabytes=0.25, end_to_end_ms=times)


def trained(candidate: str, epochs: int, value: float, reason: str | None = None) -> RaceRow:
    select_map = SelectMap(value=value, low=None, high=None)
    return RaceRow(candidate=candidate, p90_ms=1.0, rung=epochs, epochs=epochs, select_map=select_map, reason=reason)
