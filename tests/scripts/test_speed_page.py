"""The large page of `make speed` has what it is asked for, and loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.speed import page
from tests.helpers.chromium import PROGRAM, Chromium


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium: make system")
def test_a_page_of_so_many_engines_and_labels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "GRID", 1)
    monkeypatch.setattr(page, "IMAGES", 4)
    monkeypatch.setattr(page, "MISTAKES", 2)
    written = page.write_page(tmp_path, engines=3, labels=5)
    assert 0 < page.opening_s(written) < 60
    with Chromium() as browser:
        counted = browser.open(written).run(
            'return ["table.sortable tbody tr", ".plot.wide .mark", ".labels > li", ".mistakes li"]'
            ".map((what) => document.querySelectorAll(what).length);"
        )
    assert counted == [3, 3, 5, 10]
