"""Stage report: the page of what was measured, and the bundle as it is published."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.remote import DeviceEntry
from benchmarks.report import CARD, render, write_card
from export.bundle.bundle import Manifest, Parts, parts_of, write_bundle
from pipeline.runner import result
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context, Stage
from pipeline.stages.devices import RESULT

REPORTS = ("report.html", "report.md", "report.json", "report.schema.json", "chart.svg", "chart.png")


def stage(folder: Path, here: DeviceEntry, *, devices: bool) -> Stage:
    """Declare the stage.

    Args:
        folder: the results of the recipe.
        here: this machine's entry in the device list.
        devices: whether other devices are measured; without, the report keeps what they measured of today's bundle.
    """
    return Stage(
        name="report",
        run=partial(run, folder, here),
        reads=("bundle", "bench", *(("devices",) if devices else ())),
        config={"here": here.name, "power_mode": here.power_mode},
        version=7,
        packages=("jinja2", "resvg-py"),
        outside=partial(_kept, folder),
    )


def run(folder: Path, here: DeviceEntry, context: Context) -> None:
    """Write the report with what other devices measured, now or before."""
    kept = folder / "devices" if _kept(folder) else None
    report(here, context.inputs.get("devices", kept), context)


def report(here: DeviceEntry, devices: Path | None, context: Context) -> None:
    """The page, and the bundle as it is published: the same files, with the page and the measured numbers.

    This machine is called as the entry `here` says; `devices` holds what other devices measured.
    """
    facts = read_json(context.inputs["bench"] / "bench.json")
    for other in read_json(devices / RESULT) if devices else []:
        facts["devices"].append(other["device"])
        facts["rows"] += other["rows"]
    _rename(facts, here)
    facts["notes"] += _notes_on_rows(facts["rows"])
    render(facts, context.out)
    measured = context.out / "measured.json"
    published = {key: facts[key] for key in ("schema", "devices", "protocol", "rows")}
    measured.write_text(json.dumps(published, indent=1) + "\n", encoding="utf-8")
    parts = parts_of(context.inputs["bundle"] / "bundle")
    manifest = _measured(parts.manifest, facts)
    write_card(manifest, facts, context.out / CARD)
    added = {name: context.out / name for name in (*REPORTS, measured.name, CARD)}
    write_bundle(Parts(manifest=manifest, sources={**parts.sources, **added}), context.out / "bundle")


def _rename(facts: dict[str, Any], here: DeviceEntry) -> None:
    """This machine's name is no part of what was measured: a new one needs no new bench."""
    old = facts["devices"][0]["name"]
    for row in facts["rows"]:
        for named in (row, row["map_from"] or {}):
            if named.get("device") == old:
                named["device"] = here.name
    facts["devices"][0] |= {"name": here.name, "power_mode": here.power_mode}


def _measured(manifest: Manifest, facts: Mapping[str, Any]) -> Manifest:
    """The manifest with the latency of each engine as shipped, and the machine it holds for: the first device."""
    here = facts["devices"][0]
    shipped = [
        row
        for row in facts["rows"]
        if row["device"] == here["name"] and row["status"] == "measured" and not row["built_here"]
    ]
    p50 = {row["name"]: row["end_to_end_ms"]["p50"] for row in shipped}
    engines = tuple(dataclasses.replace(engine, p50_ms=p50.get(engine.name)) for engine in manifest.engines)
    keys = ("cpu", "architecture", "cores", "os", "gpus", "driver")
    machine = {key: here["machine"][key] for key in (*keys, "runtimes")}
    return dataclasses.replace(manifest, measured=True, engines=engines, measured_on=machine, files={})


def _notes_on_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    for row in rows:
        if row["status"] != "measured":
            notes.append(f"{row['name']} on {row['device']}: {row['status']}: {row['reason']}")
        elif row["built_here"]:
            notes.append(f"{row['name']} on {row['device']}: built there, not the bundle's own file")
    return notes


def _kept(folder: Path) -> Mapping[str, Any]:
    """The devices' result, if it is of today's bundle."""
    found, bundle = result.read(folder / "devices"), result.read(folder / "bundle")
    if found is None or bundle is None or found.identity["reads"]["bundle"] != bundle.content:
        return {}
    return {"devices": found.content}
