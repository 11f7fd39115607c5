"""Time every candidate on every device."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from benchmarks import schema
from benchmarks.accuracy import Truth
from benchmarks.config import Bench
from benchmarks.latency import run_latency
from benchmarks.measured_models import Bundle
from benchmarks.parsing import to_json
from benchmarks.remote import Device, DeviceEntry, run_in_turn
from benchmarks.run import Job
from mlkd.data.prepared import Split, read_split
from pipeline.runner.result import write_json
from pipeline.runner.stage import Context
from pipeline.search.rows import BUNDLE, TIMES, Row

SAMPLES = "samples"


def run(
    builds: Mapping[str, str], engines: Sequence[str], bench: Bench, entries: Sequence[DeviceEntry], context: Context
) -> None:
    """Write a row for each device and engine of the candidates that could be built.

    Args:
        builds: The stage that built a candidate, by its name.
        engines: Names of the engines of every candidate.
        bench: The protocol.
        entries: The devices.
        context: Of the stage.
    """
    folders = {name: context.inputs[stage] / BUNDLE for name, stage in builds.items()}
    bundles = {name: Bundle(folder, name, "reference") for name, folder in folders.items() if folder.is_dir()}
    truth = _images(read_split(context.inputs["data"], "select"), bench.images)

    def measure(device: Device) -> list[Row]:
        name = device.entry.name
        out = context.out / SAMPLES / re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        job = Job(device, truth, (), bench, out, progress=context.progress)
        rows = run_latency(job, list(bundles.values())) if bundles else []
        timed = {row.name: row for row in rows}
        return [row for one in bundles for row in _rows(one, name, engines, timed)]

    measured = run_in_turn(entries, measure)
    write_json(context.out / TIMES, to_json([row for rows in measured for row in rows]))


def _images(select: Split, count: int) -> Truth:
    """A few images of select to time the engines with; those of test are for the report."""
    rows = random.Random(0).sample(range(len(select)), min(count, len(select)))
    groups = [select.clusters[row] for row in rows]
    return Truth(files=[select.files[row] for row in rows], targets=select.targets[rows], groups=groups)


def _rows(candidate: str, device: str, engines: Sequence[str], timed: Mapping[str, schema.Row]) -> list[Row]:
    """The rows of a candidate on one device; none if the device has no runtime for its engines."""
    return [
        Row(
            candidate=candidate,
            device=device,
            engine=engine,
            megabytes=None if row.bytes is None else row.bytes / 1e6,
            end_to_end_ms=row.end_to_end_ms,
            engine_ms=row.engine_ms,
            settled=row.settled,
            reason=row.reason,
        )
        for engine in engines
        if (row := timed.get(f"{candidate}-{engine}"))
    ]
