"""What the page says about a student that continues a trained model with corrected labels."""

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.corrections import read_changes, worse_than_before
from benchmarks.sections import Continued, LabelChange
from tests.helpers import reports


def change(label: str, difference: float | None, half: float = 0.05, after: float | None = 0.5) -> dict[str, Any]:
    if difference is None:
        return {"label": label, "positives": 3, "before": None, "after": after}
    ends = {"difference": difference, "low": difference - half, "high": difference + half}
    return {"label": label, "positives": 30, "before": 0.5 - difference, "after": 0.5, **ends}


LABELS = [change("cat", 0.1), change("<owl>", -0.2), change("dog", 0.02), change("ant", 0.3), change("bee", None)]
SINCE = {"before_map": 0.4, "after_map": 0.45, "difference": 0.05, "low": 0.01, "high": 0.09, "labels": LABELS}


def test_labels_are_better_or_worse_beyond_their_intervals() -> None:
    changes = read_changes(Continued(labels=[LabelChange(**label) for label in LABELS]))
    assert changes is not None
    names = [[one.label for one in labels] for _, labels in changes.groups]
    assert names == [["ant", "cat"], ["<owl>"], ["dog"], ["bee"]]
    assert changes.by_chance == "0 of 4"
    assert read_changes(None) is None


def test_the_page_lists_labels_with_ap_before_and_after(bench: dict[str, Any], tmp_path: Path) -> None:
    page, text, facts = reports.write({**bench, "continued": SINCE}, tmp_path)
    section = page[page.index('<section id="corrections">') :].partition("</section>")[0]
    assert (
        "40.0 before, 45.0 after; difference +5.00, paired 95 % interval +1.00 to +9.00. 2 labels better, 1 worse"
        in (section)
    )
    found = re.findall(r'<th scope="row">([^<]*)</th>', section)
    assert found == ["ant", "cat", "&lt;owl&gt;", "dog", "bee"]
    assert section.count("<table") == 4
    assert section.count(">Positives<") == 4
    assert re.search(
        r"No significant difference: 1 label</summary>.*dog.*Not compared: 1 label</summary>.*bee", section, re.S
    )
    assert section.count("<details") == section.count("</details>") == 2
    assert "one without any AP has no positive on test. Differences are those of unrounded values." in section
    assert "| cat | Better | 30 | 40.0 | 50.0 | +10.00 | +5.00 to +15.00 |" in text
    assert "| bee | Not compared | 3 | – | 50.0 | – | – |" in text
    assert facts["continued"]["labels"][1]["difference"] == -0.2


def test_other_reports_have_no_such_section(example: reports.Written) -> None:
    assert "corrections changed" not in example.page + example.text


@pytest.mark.parametrize(("high", "worse"), [(-0.001, True), (0.001, False), (None, False)])
def test_a_worse_student_is_a_problem(high: float | None, worse: bool) -> None:
    since = Continued(before_map=0.4, after_map=0.35, difference=-0.05, low=-0.1, high=high)
    problem = worse_than_before(since)
    assert bool(problem) == worse
    if problem:
        assert "mAP 35.0, before 40.0; paired 95 % interval of the difference −10.00 to −0.10." in problem.numbers
