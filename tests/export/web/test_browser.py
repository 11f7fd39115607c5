"""A page that reports nothing is an error that says so."""

import shutil
from pathlib import Path

import pytest

from export.web.browser import BrowserError, find_chromium, run_page


def test_a_report_comes_back(tmp_path: Path) -> None:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed: make system")
    script = "<script>fetch('/report', {method: 'POST', body: JSON.stringify({sum: 1 + 1})})</script>"
    (tmp_path / "page.html").write_text(script)
    assert run_page(program, tmp_path, "page.html", 60) == {"sum": 2}


def test_a_browser_that_ends_and_a_silent_one_are_named(tmp_path: Path) -> None:
    ended = shutil.which("false")
    assert ended
    with pytest.raises(BrowserError, match=r"false: expected a report of the page, got exit code 1"):
        run_page(ended, tmp_path, "page.html", 60)
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with pytest.raises(BrowserError, match=r"expected a report of the page within 0 s, got none; try it again"):
        run_page(str(silent), tmp_path, "page.html", 0.1)
