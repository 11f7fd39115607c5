"""Measure latency alone: of engines whose scores nobody asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.measured_models import Bundle, model_of_bundle
from benchmarks.requests import Timed
from benchmarks.rows import add_timing, failed_row
from benchmarks.run import Job, sample_images, time_all
from benchmarks.schema import Row


def run_latency(job: Job, bundles: Sequence[Bundle]) -> list[Row]:
    """Only time the engines of the bundles; no images are scored.

    Whether an engine can run is not asked before: the rows of those that cannot have the reason.  `bench.images` of the
    job's images are copied to the device; samples are stored as by `run_bench`.  A row has the times of its process
    with the lowest p90: other work on the device only adds to them.

    Raises:
        BundleError: A bundle cannot be read.
        DeviceError: The device cannot be used, or has no runtime for a bundle.
    """
    (job.out / "samples").mkdir(parents=True, exist_ok=True)
    entry, models = job.device.entry, []
    for done, bundle in enumerate(bundles):
        job.progress("bundles", done, len(bundles))
        program = job.device.place(bundle.folder)
        models.append(
            model_of_bundle(bundle, program, {}, device=entry.name, threads=job.threads, runtimes=entry.runtimes)
        )
    timed = time_all(job, models, job.device.copy_images(sample_images(job)))
    return [_timed_row(engine.row, timed[engine.name]) for model in models for engine in model.engines]


def _timed_row(row: Row, timed: Timed) -> Row:
    """Return the row with its latency, or with the reason why it has none."""
    try:
        if timed.error is not None:
            raise ValueError(timed.error)
        rows = [add_timing(row, [process]) for process in timed.processes]
        least = min(rows, key=lambda one: (one.end_to_end_ms and one.end_to_end_ms.p90) or float("inf"))
        return dataclasses.replace(least, status="measured")
    except ValueError as cause:
        return failed_row(row, cause)
