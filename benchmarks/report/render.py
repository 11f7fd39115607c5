"""Write a report as report.json, report.md and a page in one file that needs no network."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.parsing import to_json
from benchmarks.report import figures
from benchmarks.report.cards import answer
from benchmarks.report.columns import COLUMNS, DECISIONS, OPERATING_POINTS, SUSTAINED
from benchmarks.report.corrections import read_changes
from benchmarks.report.curves import curves
from benchmarks.report.devices import Device, by_device, of_device, read_devices
from benchmarks.report.export_cost import read_export_cost
from benchmarks.report.gaps import draw_or_name, intervals_not_drawn
from benchmarks.report.images import read_grid, read_mistakes, read_pool
from benchmarks.report.json_schema import json_schema
from benchmarks.report.labels import SHOWN, int8_row, read_tags
from benchmarks.report.layer_times import TimeTable, read_layer_times
from benchmarks.report.markdown import environment
from benchmarks.report.problems import problems
from benchmarks.report.recommendation import budget_of
from benchmarks.report.rows import PRECISIONS, RUNTIMES, ReportRow, read_rows
from benchmarks.report.scatter import DASHES, INNER, SHAPES, scatter
from benchmarks.report.slides import draw_slides
from benchmarks.report.students import COLUMNS as STUDENTS
from benchmarks.report.students import student_lines
from benchmarks.report.times import histograms, stacks, throughputs
from benchmarks.report.verdict import judge
from benchmarks.schema import Report
from benchmarks.sections import Distillation

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("choose.js", "page.js")


def render(report: Report, out: Path) -> None:
    """Write report.html, report.md, report.json with its schema, chart.svg and chart.png into the folder `out`."""
    view = _view(report)
    out.mkdir(parents=True, exist_ok=True)
    draw_slides(view, view["charts"][0][1], out)
    published = dataclasses.replace(report, verdict=[verdict.published() for verdict in view["verdicts"]])
    text = json.dumps(to_json(published), indent=1, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    (out / "report.schema.json").write_text(json.dumps(json_schema(), indent=1) + "\n", encoding="utf-8")
    (out / "report.md").write_text(_markdown(view), encoding="utf-8")
    (out / "report.html").write_text(_html(view), encoding="utf-8")


def _view(report: Report) -> dict[str, Any]:
    """Everything the templates show; what belongs to one device is that of the first with an engine to deploy."""
    rows, devices, pool = read_rows(report.rows), read_devices(report.devices), read_pool(report.images)
    search, budget = report.search, budget_of(report.search)
    verdicts = judge(rows, [device for device in devices if device.measured], budget)
    first = next((verdict for verdict in verdicts if verdict.chosen), None)
    chosen, home = (first.chosen, of_device(rows, first.device)) if first else (None, [])
    int8 = int8_row(home, report.int8_gain.name if report.int8_gain else None)
    tags = read_tags(report, int8, read_mistakes(report.mistakes, pool))
    grid = read_grid(report.grid, pool, chosen)
    gaps = intervals_not_drawn(rows)
    used = [shown.image for shown in grid] + [mistake.image for tag in tags for mistake in tag.mistakes]
    to_deploy = [verdict.chosen for verdict in verdicts if verdict.chosen]
    return {
        "recipe": report.recipe,
        "composed": report.composed,
        "protocol": report.protocol,
        "agreement": report.agreement,
        "notes": report.notes,
        "budget": vars(budget),
        "students": (students := student_lines(search, rows, first)),
        "candidates": {line.student.model: line.student.candidate for line in students},
        "student_columns": STUDENTS,
        "students_on": first.device.name if first else "",
        "screen": sorted(search.screen, key=lambda one: -(one.select_map or 0.0)) if search else [],
        "distillation": report.distillation or Distillation(),
        "continued": report.continued,
        "changes": read_changes(report.continued),
        "has_distillation": report.distillation is not None,
        "rows": rows,
        "columns": [column for column in COLUMNS if column.key != "device" or len(devices) > 1],
        "figures": figures,
        "devices": devices,
        "verdicts": verdicts,
        "to_ship": to_deploy,
        "problems": problems(report, rows, verdicts),
        "cards": answer(report, rows, verdicts, tags, int8),
        "tags": tags,
        "tags_shown": SHOWN,
        "mistaken": report.mistakes.engine if report.mistakes else None,
        "decided": next((row for row in [chosen, *home] if row and row.operating_points), None),
        "operating_points": OPERATING_POINTS,
        "decisions": DECISIONS,
        "int8": int8,
        "cost": draw_or_name("the table of export", lambda: read_export_cost(report.freezing, rows), None, gaps),
        "histograms": draw_or_name("the histograms of latency", lambda: by_device(rows, devices, histograms), [], gaps),
        "throughputs": draw_or_name("throughput", lambda: by_device(rows, devices, throughputs), [], gaps),
        "sustained": [row for row in rows if row.sustained],
        "sustained_columns": SUSTAINED,
        "timed": draw_or_name("the parts of latency", lambda: by_device(rows, devices, stacks), [], gaps),
        "layers": draw_or_name("the table of layer times", lambda: _layers(report, rows, devices), None, gaps),
        "grid": grid,
        "pool": sorted({image.at: image for image in used}.values(), key=lambda image: image.at),
        **_drawings(report, rows, devices, to_deploy, gaps),
        "gaps": gaps,
    }


def _layers(report: Report, rows: list[ReportRow], devices: list[Device]) -> TimeTable | None:
    """The profiles are of the machine that ran the bench."""
    return read_layer_times(report.layer_times, of_device(rows, devices[0])) if devices else None


def _drawings(
    report: Report,
    rows: list[ReportRow],
    devices: list[Device],
    to_deploy: list[ReportRow],
    gaps: list[str],
) -> dict[str, Any]:
    """The charts, and what they and the page's filters tell rows apart by."""
    plotted, training, search = [row for row in rows if row.plotted], report.training, report.search
    return {
        "charts": draw_or_name(
            "the chart of latency against mAP",
            lambda: [
                ("wide", scatter(rows, devices, to_deploy, 1040, 500, search)),
                ("narrow", scatter(rows, devices, to_deploy, 380, 480, search)),
            ],
            [("wide", None), ("narrow", None)],
            gaps,
        ),
        "trainings": draw_or_name(
            "the chart of training",
            lambda: [("wide", curves(training, 1040, 300)), ("narrow", curves(training, 380, 260))],
            [("wide", None), ("narrow", None)],
            gaps,
        ),
        "seconds": {
            net: sum(epoch.get("seconds") or 0 for epoch in epochs) for net, epochs in training.items() if epochs
        },
        "shapes": SHAPES,
        "inner": INNER,
        "dashes": DASHES,
        "kinds_of": {row.at: _filter_keys(row, devices) for row in rows},
        "runtimes": [name for name in (*RUNTIMES, "other") if name in {row.runtime_family for row in plotted}],
        "precisions": [name for name in PRECISIONS if name in {row.precision_family for row in plotted}],
    }


def _filter_keys(row: ReportRow, devices: list[Device]) -> dict[str, Any]:
    """What the page's script filters and chooses by; names of devices become places, as they may be anything."""
    same = ("kind", "name", "model", "plotted", "map", "interval", "change", "versus_student", "gain", "bytes")
    return {
        **{name: getattr(row, name) for name in same},
        "device": next((device.at for device in devices if device.name == row.device), None),
        "runtime": row.runtime_family,
        "precision": row.precision_family,
        "p90": row.latency,
    }


def _html(view: dict[str, Any]) -> str:
    """The page; its policy lets only our own script run, so that a name that slips through stays text."""
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment(TEMPLATES, html=True).get_template("page.html.jinja")
    return page.render(
        view, style=Markup(style), script=Markup(script), script_hash=digest
    )  # our own files, nothing from a bench


def _markdown(view: dict[str, Any]) -> str:
    return environment(TEMPLATES).get_template("report.md.jinja").render(view)
