"""Stage devices: measure the bundle on the other machines of devices.yaml, several at once, over ssh."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.config import Bench
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.measured_models import Scored
from benchmarks.remote import DeviceEntry, DeviceError
from benchmarks.remote.ssh import Ssh
from benchmarks.run import Job, run_bench
from export.bundle.bundle import read_bundle
from export.errors import BundleError
from mlkd.core.files import write_file
from mlkd.core.progress import Progress
from mlkd.data.prepared import read_split
from pipeline.recipe.schema import Recipe
from pipeline.references import scores
from pipeline.runner import result
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context, Stage
from pipeline.stages import bench as measuring

log = logging.getLogger(__name__)

FACTS = "device.json"
RESULT = "devices.json"


def stage(recipe: Recipe, folder: Path, others: tuple[DeviceEntry, ...]) -> Stage:
    """Declare the stage; what it has measured so far lies in `folder`/devices.work."""
    return Stage(
        name="devices",
        run=partial(run, recipe.bench, recipe.seed, others, folder / "devices.work"),
        reads=("data", "bundle", "references", "bench"),
        config={"bench": recipe.bench, "seed": recipe.seed, "devices": others},
        outside=partial(again, folder / "devices"),
    )


def run(bench: Bench, seed: int, entries: Sequence[DeviceEntry], work: Path, context: Context) -> None:
    """Measure on all at once; one that fails becomes a line that says why.  Writes devices.json.

    Raw samples and scores lie in `work`; a device that is whole there is not asked again, another goes on.
    """
    nets, manifest = scores.read(context.inputs["references"]), read_bundle(context.inputs["bundle"] / "bundle")
    truth = measuring.truth_of(read_split(context.inputs["data"], "test"))
    bundles, progress = measuring.bundles(context.inputs, nets), _Together(context.progress, len(entries))

    opened = [Ssh(entry) for entry in entries]
    turns = {_place(entry): threading.Lock() for entry in entries}  # entries of one machine would time each other

    def measure(device: Ssh, out: Path, progress: Progress) -> dict[str, Any]:
        entry = device.entry
        with turns[_place(entry)], closing(device):
            host, timed = _host(context.inputs["bench"]), dataclasses.replace(bench, timeout_s=entry.timeout_s)
            job = Job(device, truth, manifest.labels, timed, out, seed=seed, progress=progress, host=host)
            return run_bench(job, bundles)

    folders = [work / _key(entry, bench, seed, context.inputs) for entry in entries]
    with ThreadPoolExecutor(len(entries)) as together:
        running = [
            together.submit(_one, device.entry, folder, partial(measure, device, folder, progress.of(at)))
            for at, (device, folder) in enumerate(zip(opened, folders, strict=True))
        ]
        try:
            found = [one.result() for one in running]
        except BaseException:  # Ctrl-C: the threads would go on, and the pool waits for them
            for device in opened:
                device.close()
            raise
    for old in set(work.iterdir()) - set(folders):
        shutil.rmtree(old)
    (context.out / RESULT).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def again(folder: Path) -> dict[str, int]:
    """Something new each time while a device of the finished result was not measured: it is tried again."""
    file = folder / RESULT
    found = result.read_json(file) if file.is_file() else []
    return {"again": time.time_ns()} if any(one["device"]["status"] != "measured" for one in found) else {}


def _one(entry: DeviceEntry, folder: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What became of one device: measured now or before, or why not."""
    kept = folder / FACTS
    if kept.is_file():
        return dict(result.read_json(kept))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = dict(measuring.plain_numbers(measure()))
    except OSError:  # of this machine, as a full disk
        raise
    except Exception as cause:  # whatever one device says spoils no other
        known = isinstance(cause, (DeviceError, ProcessFailedError, BundleError))
        reason = str(cause) if known else f"{entry.name}: expected a device that measures, got {cause!r}"
        log.warning("%s", reason, exc_info=not known)
        told = {"name": entry.name, "status": "failed", "reason": reason, "machine": None}
        return {"device": {**told, "threads": entry.threads, "power_mode": entry.power_mode}, "rows": []}
    write_file(kept, json.dumps(found, indent=1) + "\n")
    log.info("%s: measured", entry.name)
    return found


def _key(entry: DeviceEntry, bench: Bench, seed: int, inputs: Mapping[str, Path]) -> str:
    """The name of a device's folder: equal while its measurement holds, whatever this machine measured of itself."""
    read = {name: result.read(folder) for name, folder in inputs.items() if name != "bench"}
    contents = {name: one and one.content for name, one in read.items()}
    asked = dataclasses.replace(entry, retries=0, timeout_s=1.0)  # these change no number
    return result.digest(plain({"entry": asked, "bench": bench, "seed": seed, "reads": contents}))[:16]


def _place(entry: DeviceEntry) -> tuple[str | None, int | None]:
    return entry.host, entry.port


def _host(bench: Path) -> Scored:
    """What this machine measured, for a device without room for the test set."""
    facts = result.read_json(bench / "bench.json")
    measured = [row for row in facts["rows"] if row["status"] == "measured"]
    told = {row["name"]: {"ran": None, "sha256": row["sha256"], "error": None} for row in measured}
    here = facts["devices"][0]
    return Scored(here["name"], here["machine"]["instruction_set"], bench / "scores", told)


@dataclass(frozen=True)
class _Together:
    """The progress of several devices as one."""

    tell: Progress
    count: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    shares: dict[int, float] = field(default_factory=dict)

    def of(self, at: int) -> Progress:
        """That of one of them; latency is told, which is what takes long."""

        def progress(what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
            if what == "latency":
                with self.lock:
                    self.shares[at] = done / max(total, 1)
                    self.tell("devices", round(100 * sum(self.shares.values())), 100 * self.count, facts)

        return progress
