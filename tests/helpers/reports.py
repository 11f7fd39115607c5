"""The files of a report, as a reader opens them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.report import render
from benchmarks.schema import read_report


class Written(NamedTuple):
    """The page, the Markdown and the content of report.json."""

    page: str
    text: str
    facts: dict[str, Any]


def write(bench: dict[str, Any], out: Path) -> Written:
    """Render a bench into a folder and read its files."""
    render(read_report(bench), out)
    page, text, facts = ((out / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md", "json"))
    return Written(page, text, json.loads(facts))
