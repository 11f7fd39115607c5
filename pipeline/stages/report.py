"""Stage report: the page of what was measured, and the bundle as it is published."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.parsing import parse, to_json
from benchmarks.remote import DeviceEntry
from benchmarks.report import CARD, render, write_card
from benchmarks.schema import STUDENT, DeviceResult, Report, Row, ScoreSource, read_report
from benchmarks.sections import Screened
from export.bundle.bundle import Manifest, Parts, parts_of, write_bundle
from pipeline.declarations.bench import RESULT, earlier
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context

T = TypeVar("T", Row, ScoreSource, Screened)
REPORTS = ("report.html", "report.md", "report.json", "report.schema.json", "chart.svg", "chart.png")


def run(folder: Path, here: DeviceEntry, context: Context) -> None:
    """Write the page with what other devices measured, now or before, and the bundle as it is published.

    The published bundle has the same files, with the page and the measured numbers.
    """
    devices = context.inputs.get("devices", folder / "devices" if earlier(folder) else None)
    measured = read_report(read_json(context.inputs["bench"] / "bench.json"))
    others = parse(list[DeviceResult], read_json(devices / RESULT), ranges=False) if devices else []
    measured = dataclasses.replace(
        measured,
        devices=[*measured.devices, *(other.device for other in others)],
        rows=[*measured.rows, *(row for other in others for row in other.rows)],
    )
    measured = _rename(measured, here)
    measured = dataclasses.replace(measured, notes=[*measured.notes, *_notes_on_rows(measured.rows)])
    render(measured, context.out)
    published = {key: getattr(measured, key) for key in ("schema", "devices", "protocol", "rows")}
    numbers = context.out / "measured.json"
    write_json(numbers, to_json(published))
    parts = parts_of(context.inputs["bundle"] / "bundle")
    manifest = _measured_manifest(parts.manifest, measured)
    write_card(manifest, measured, context.out / CARD)
    added = {name: context.out / name for name in (*REPORTS, numbers.name, CARD)}
    write_bundle(Parts(manifest=manifest, sources={**parts.sources, **added}), context.out / "bundle")


def _rename(measured: Report, here: DeviceEntry) -> Report:
    """This machine's name is no part of what was measured: a new one needs no new bench."""
    own, *others = measured.devices

    def renamed(item: T) -> T:
        return dataclasses.replace(item, device=here.name) if item.device == own.name else item

    return dataclasses.replace(
        measured,
        devices=[dataclasses.replace(own, name=here.name, power_mode=here.power_mode), *others],
        search=measured.search
        and dataclasses.replace(measured.search, screen=[renamed(point) for point in measured.search.screen]),
        rows=[
            dataclasses.replace(renamed(row), map_from=row.map_from and renamed(row.map_from)) for row in measured.rows
        ],
    )


def _measured_manifest(manifest: Manifest, measured: Report) -> Manifest:
    """The manifest with the latency of each engine as deployed, and the machine it holds for: the first device."""
    here = measured.devices[0]
    p50 = {
        row.name: row.end_to_end_ms.p50
        for row in measured.rows
        if row.device == here.name
        and row.model == STUDENT
        and row.status == "measured"
        and row.end_to_end_ms
        and not row.built_here
    }
    engines = tuple(dataclasses.replace(engine, p50_ms=p50.get(engine.name)) for engine in manifest.engines)
    keys = ("cpu", "architecture", "cores", "os", "gpus", "driver", "runtimes")
    machine = {key: here.machine[key] for key in keys}
    return dataclasses.replace(manifest, measured=True, engines=engines, measured_on=machine, files={})


def _notes_on_rows(rows: Sequence[Row]) -> list[str]:
    notes = []
    for row in rows:
        if row.status != "measured":
            notes.append(f"{row.name} on {row.device}: {row.status}: {row.reason}")
        elif row.built_here:
            notes.append(f"{row.name} on {row.device}: built there, not the bundle's own file")
    return notes
