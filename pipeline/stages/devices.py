"""Stage devices: measure the bundle on the other devices of devices.yaml: browsers, and machines over ssh."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.browser import page_files
from benchmarks.config import Bench
from benchmarks.device.output import ScoreResult
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import ScoredEngines
from benchmarks.parsing import parse, to_json
from benchmarks.remote import Device, DeviceEntry, DeviceError, run_in_turn
from benchmarks.run import Job, run_bench
from benchmarks.schema import DeviceFacts, DeviceResult, ScoreSource, read_report
from export.bundle.bundle import read_bundle
from export.errors import BundleError
from mlkd.core.progress import Progress
from mlkd.data.prepared import read_split
from pipeline import finals_folder
from pipeline.declarations.bench import RESULT
from pipeline.references import scores
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context
from pipeline.stages import bench as measuring

log = logging.getLogger(__name__)

FACTS = "device.json"


def run(
    bench: Bench, seed: int, entries: Sequence[DeviceEntry], work: Path, finals: Path | None, context: Context
) -> None:
    """Measure on all devices and write devices.json; a device that fails is listed with the reason.

    Raw samples and scores are in `work`; a device that is complete there is not measured again, another is resumed.
    """
    nets, manifest = scores.read(context.inputs["references"]), read_bundle(context.inputs["bundle"] / "bundle")
    truth = measuring.truth_of(read_split(context.inputs["data"], "test"))
    bundles = measuring.bundles(context.inputs, nets, finals)
    progress = _JointProgress(context.progress, len(entries))
    others = finals_folder.contents(finals)
    folders = {
        entry.name: work / _key(entry, bench, seed, context.inputs, {**others, **page_files.identity([entry])})
        for entry in entries
    }
    host = _host(context.inputs["bench"])

    def measure(device: Device) -> DeviceResult:
        name, timed = device.entry.name, dataclasses.replace(bench, timeout_s=device.entry.timeout_s)
        part = progress.of(name)
        job = Job(device, truth, manifest.labels, timed, folders[name], seed=seed, progress=part, host=host)
        return _measure_once(device.entry, folders[name], partial(run_bench, job, bundles))

    measured = run_in_turn(entries, measure)
    for old in set(work.iterdir()) - set(folders.values()):
        shutil.rmtree(old)
    result.write_json(context.out / RESULT, to_json(measured))


def _measure_once(entry: DeviceEntry, folder: Path, measure: Callable[[], DeviceResult]) -> DeviceResult:
    """Return what a device gave, now or before, or why it gave nothing."""
    file = folder / FACTS
    if file.is_file():
        return parse(DeviceResult, result.read_json(file), ranges=False)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measured = measure()
        _check_engines(measured)
    except OSError:  # of this machine, as a full disk
        raise
    except Exception as cause:  # whatever one device says spoils no other
        expected = isinstance(cause, (DeviceError, ProcessFailedError, BundleError))
        reason = str(cause) if expected else f"{entry.name}: expected a device that measures, got {cause!r}"
        log.warning("%s", reason, exc_info=not expected)
        threads, power_mode = entry.threads, entry.power_mode
        failed = DeviceFacts(name=entry.name, status="failed", reason=reason, threads=threads, power_mode=power_mode)
        return DeviceResult(device=failed)
    failed_rows = [row.name for row in measured.rows if row.status == "failed"]
    if failed_rows:
        log.warning("%s: measured, but for %s; rerun the command to try again", entry.name, ", ".join(failed_rows))
    else:
        result.write_json(file, to_json(measured))
        log.info("%s: measured", entry.name)
    return measured


def _check_engines(measured: DeviceResult) -> None:
    """Raise DeviceError if none of the engines of the bundle was measured."""
    rows = [row for row in measured.rows if row.kind == "engine"]
    if rows and all(row.status != "measured" for row in rows):
        row = next((row for row in rows if row.status == "failed"), rows[0])
        name = measured.device.name
        raise DeviceError(f"{name}: expected an engine that can be measured there, got none; {row.name}: {row.reason}")


def _key(entry: DeviceEntry, bench: Bench, seed: int, inputs: Mapping[str, Path], others: Mapping[str, Any]) -> str:
    """The name of a device's folder: equal while its measurement holds, whatever this machine measured of itself."""
    read = {name: result.read(folder) for name, folder in inputs.items() if name != "bench"}
    contents = {name: one and one.content for name, one in read.items()}
    asked = dataclasses.replace(entry, retries=0, timeout_s=1.0)  # these change no number
    return result.digest(plain({"entry": asked, "bench": bench, "seed": seed, "reads": contents, **others}))[:16]


def _host(bench: Path) -> ScoredEngines:
    """Scores that this machine computed, for a device without room for the test set."""
    report = read_report(result.read_json(bench / "bench.json"))
    own = report.devices[0]
    source = ScoreSource(device=own.name, instruction_set=own.machine["instruction_set"])
    results = {row.name: ScoreResult(sha256=row.sha256) for row in report.rows if row.status == "measured"}
    return ScoredEngines(source, bench / "scores", results)


@dataclass(frozen=True)
class _JointProgress:
    """The progress of several devices as one."""

    report: Progress
    count: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    shares: dict[str, float] = field(default_factory=dict)

    def of(self, name: str) -> Progress:
        """Return the progress of one device; only latency is reported, as it takes longest."""

        def progress(what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
            if what == "latency":
                with self.lock:
                    self.shares[name] = done / max(total, 1)
                    self.report("devices", round(100 * sum(self.shares.values())), 100 * self.count, facts)

        return progress
