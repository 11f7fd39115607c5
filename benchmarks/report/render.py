"""Write the facts of a bench as report.json, report.md and a page in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.report import figures
from benchmarks.report.columns import COLUMNS
from benchmarks.report.curves import curves
from benchmarks.report.decisions import read_decisions
from benchmarks.report.freezing import read_freezing
from benchmarks.report.pictures import read_pictures
from benchmarks.report.rows import Facts, finite, read_rows
from benchmarks.report.scatter import scatter
from benchmarks.report.stacks import stacks
from benchmarks.report.tags import int8_row, read_tags
from benchmarks.report.verdict import judge

SCHEMA = 1
TEMPLATES = Path(__file__).parent / "templates"


def render(bench: Facts, out: Path) -> None:
    """Write report.json, report.md and report.html into `out`, which is made if need be.

    In the grid of `bench` an engine lists the labels above its thresholds.  Every value may be None.
    Raises ValueError for a bench of another schema.
    """
    if bench.get("schema") != SCHEMA:
        raise ValueError(
            f"bench: expected schema {SCHEMA}, got {bench.get('schema')!r}; run bench again with this version"
        )
    facts: dict[str, Any] = finite(bench)
    view = _view(facts)
    out.mkdir(parents=True, exist_ok=True)
    verdict = {"chosen": view["verdict"].chosen and view["verdict"].chosen.name}
    verdict["pareto_front"] = [row.name for row in view["verdict"].front]
    text = json.dumps({**facts, "verdict": verdict}, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "report.md").write_text(_markdown(view), encoding="utf-8")
    (out / "report.html").write_text(_html(view), encoding="utf-8")


def _view(bench: dict[str, Any]) -> dict[str, Any]:
    """Everything the templates show."""
    rows = read_rows(bench)
    int8 = int8_row(rows, (bench.get("int8_gain") or {}).get("name"))
    tags = read_tags(bench, int8)
    verdict = judge(bench, rows, tags, int8)
    training = bench.get("training") or {}
    return {
        "recipe": bench.get("recipe"),
        "composed": bench.get("composed"),
        "machine": bench.get("machine") or {},
        "protocol": bench.get("protocol") or {},
        "notes": bench.get("notes") or [],
        "distillation": bench.get("distillation") or {},
        "rows": rows,
        "columns": COLUMNS,
        "figures": figures,
        "verdict": verdict,
        "tags": tags,
        "decisions": read_decisions(rows, verdict.chosen),
        "int8": int8,
        "freezing": read_freezing(bench, rows),
        "charts": [
            ("wide", scatter(rows, verdict.chosen, verdict.floor, 1040, 500)),
            ("narrow", scatter(rows, verdict.chosen, verdict.floor, 380, 480)),
        ],
        "trainings": [("wide", curves(training, 1040, 300)), ("narrow", curves(training, 380, 260))],
        "seconds": {
            net: sum(epoch.get("seconds") or 0 for epoch in epochs) for net, epochs in training.items() if epochs
        },
        "timed": stacks(rows),
        "pictures": read_pictures(bench, verdict.chosen),
    }


def _html(view: dict[str, Any]) -> str:
    """The page; its policy lets only our own script run, so that a name that slips through stays text."""
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja")
    return page.render(
        view, style=Markup(style), script=Markup(script), script_hash=digest
    )  # our own two files, nothing from a bench


def _markdown(view: dict[str, Any]) -> str:
    """Every value that a template writes is escaped, so no name can make a table, link or tag."""
    environment = Environment(  # no autoescape: finalize escapes for Markdown
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.md.jinja").render(view)


def escape_markdown(value: object) -> str:
    text = re.sub(r"\s+", " ", str(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", text)
