"""Write the facts of a bench as report.json, report.md and a page in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.report import figures
from benchmarks.report.columns import COLUMNS
from benchmarks.report.curves import curves
from benchmarks.report.decisions import read_decisions
from benchmarks.report.devices import Device, by_device, of_device, read_devices
from benchmarks.report.export_cost import read_freezing
from benchmarks.report.families import PRECISIONS, RUNTIMES, precision_of, runtime_of
from benchmarks.report.gaps import draw_or_name, intervals_not_drawn
from benchmarks.report.histograms import histograms
from benchmarks.report.images import read_grid, read_mistakes, read_pool
from benchmarks.report.labels import SHOWN, int8_row, read_tags
from benchmarks.report.markdown import environment
from benchmarks.report.problems import problems
from benchmarks.report.rows import Facts, Row, finite, read_rows
from benchmarks.report.scatter import DASHES, INNER, SHAPES, scatter
from benchmarks.report.series import SUSTAINED, stacks, sustained, throughputs
from benchmarks.report.slides import draw_slides
from benchmarks.report.verdict import Verdict, answer, judge

SCHEMA = 2
TEMPLATES = Path(__file__).parent / "templates"
PUBLISHED = Path(__file__).with_name("report.schema.json")
SCRIPTS = ("choose.js", "page.js")


def render(bench: Facts, out: Path) -> None:
    """Write report.html, report.md, report.json with its schema, chart.svg and chart.png into `out`, made if need be.

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
    draw_slides(view, view["charts"][0][1], out)
    told = {**facts, "verdict": [_told(one) for one in view["verdicts"]]}
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(PUBLISHED, out / PUBLISHED.name)
    (out / "report.md").write_text(_markdown(view), encoding="utf-8")
    (out / "report.html").write_text(_html(view), encoding="utf-8")


def _told(verdict: Verdict) -> dict[str, Any]:
    choice = verdict.choice
    return {
        "device": verdict.device.name,
        "engine": choice and choice.chosen.name,
        "why": verdict.why,
        "runner_up": choice and choice.runner_up and choice.runner_up.name,
        "pareto_front": [row.name for row in verdict.front],
    }


def _view(bench: dict[str, Any]) -> dict[str, Any]:
    """Everything the templates show; what is told of one device alone is told of the first that has an engine."""
    rows, devices, pool = read_rows(bench), read_devices(bench), read_pool(bench)
    verdicts = judge(rows, [device for device in devices if device.measured])
    first = next((one for one in verdicts if one.chosen), None)
    chosen, home = (first.chosen, of_device(rows, first.device)) if first else (None, [])
    int8 = int8_row(home, (bench.get("int8_gain") or {}).get("name"))
    tags = read_tags(bench, int8, read_mistakes(bench, pool))
    grid = read_grid(bench, pool, chosen)
    gaps = intervals_not_drawn(rows)
    used = [shown.image for shown in grid] + [mistake.image for tag in tags for mistake in tag.mistakes]
    return {
        "recipe": bench.get("recipe") or "bench",
        "composed": bench.get("composed"),
        "protocol": bench.get("protocol") or {},
        "agreement": bench.get("agreement"),
        "notes": bench.get("notes") or [],
        "distillation": bench.get("distillation") or {},
        "rows": rows,
        "columns": [column for column in COLUMNS if column.key != "device" or len(devices) > 1],
        "figures": figures,
        "devices": devices,
        "verdicts": verdicts,
        "to_ship": [one.chosen for one in verdicts if one.chosen],
        "problems": problems(bench, rows, verdicts),
        "cards": answer(bench, rows, verdicts, tags, int8),
        "tags": tags,
        "tags_shown": SHOWN,
        "mistaken": (bench.get("mistakes") or {}).get("engine"),
        "decisions": read_decisions(home, chosen),
        "int8": int8,
        "freezing": draw_or_name("the table of export", lambda: read_freezing(bench, rows), None, gaps),
        "histograms": draw_or_name("the histograms of latency", lambda: by_device(rows, devices, histograms), [], gaps),
        "throughputs": draw_or_name("throughput", lambda: by_device(rows, devices, throughputs), [], gaps),
        "sustained": sustained(rows),
        "sustained_titles": SUSTAINED,
        "timed": draw_or_name("the parts of latency", lambda: by_device(rows, devices, stacks), [], gaps),
        "grid": grid,
        "pool": sorted({image.at: image for image in used}.values(), key=lambda image: image.at),
        **_drawings(bench, rows, devices, [one.chosen for one in verdicts if one.chosen], gaps),
        "gaps": gaps,
    }


def _drawings(
    bench: Facts, rows: list[Row], devices: list[Device], to_ship: list[Row], gaps: list[str]
) -> dict[str, Any]:
    """The charts, and what they and the page's filters tell rows apart by."""
    training = bench.get("training") or {}
    plotted = [row for row in rows if row.plotted]
    return {
        "charts": draw_or_name(
            "the chart of latency against mAP",
            lambda: [
                ("wide", scatter(rows, devices, to_ship, 1040, 500)),
                ("narrow", scatter(rows, devices, to_ship, 380, 480)),
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
        "kinds_of": {row.at: _kinds(row, devices) for row in rows},
        "runtimes": [one for one in (*RUNTIMES, "other") if one in {runtime_of(row) for row in plotted}],
        "precisions": [one for one in PRECISIONS if one in {precision_of(row) for row in plotted}],
    }


def _kinds(row: Row, devices: list[Device]) -> dict[str, Any]:
    """What the page's script filters and chooses by."""
    return {
        "device": next((device.at for device in devices if device.name == row.device), None),
        "runtime": runtime_of(row),
        "precision": precision_of(row),
        "kind": "engine" if row.engine else "reference",
        "name": row.name,
        "model": row.text("model"),
        "plotted": row.plotted,
        "p90": row.latency,
        "map": row.accuracy,
        "interval": row.interval,
        "change": row.change,
        "gain": row.gain,
        "bytes": row.number("bytes"),
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
