"""Stage bench: measure the bundle on this machine.  Only this stage and `compare` read the test split."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import Truth
from benchmarks.config import Bench
from benchmarks.device import machine
from benchmarks.measured_models import Bundle, Float
from benchmarks.remote import DeviceEntry, Local
from benchmarks.report import figures
from benchmarks.run import Job, run_bench
from export.bundle.bundle import MANIFEST, Manifest, read_bundle
from mlkd.core.metrics import labels_without_positives
from mlkd.data.prepared import Split, read_split
from pipeline import teachers
from pipeline.recipe.device_list import HERE
from pipeline.recipe.schema import Recipe
from pipeline.references import scores as floats
from pipeline.report_facts import agreement
from pipeline.report_facts.gains import distillation, int8_gain, training
from pipeline.report_facts.image_grid import grid
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context, Stage
from pipeline.stages import references
from pipeline.stages.engines import cost

log = logging.getLogger(__name__)


def stage(recipe: Recipe, here: DeviceEntry) -> Stage:
    """Declare the stage; `here` is this machine's entry in the list of devices."""
    timed = dataclasses.replace(recipe.bench, threads=here.threads or recipe.bench.threads)
    return Stage(
        name="bench",
        run=partial(run, dataclasses.replace(recipe, bench=timed), here),
        version=5,
        reads=("data", *teachers.reads(recipe), "student", "baseline", "engines", "bundle", "references"),
        config={"bench": timed, "seed": recipe.seed, **_asked(here), **teachers.ready(recipe)},
        packages=("numpy", "pillow", "torch", "onnxruntime-gpu", "openvino", "tensorrt-rtx-cu13"),
        outside=lambda: {**machine.identity(), **teachers.hashes(recipe)},
    )


def _asked(here: DeviceEntry) -> dict[str, Any]:
    """What besides threads of the entry changes numbers; what came later than results only where it says so."""
    said = {name: getattr(here, name) for name in ("python", "rebuild", "power_mode")}
    said = {name: value for name, value in said.items() if value != getattr(HERE, name)}
    return {"runtimes": here.runtimes, **said}


def run(recipe: Recipe, here: DeviceEntry, context: Context) -> None:
    """Engines and references through their own programs on this machine, and what distillation gave; bench.json."""
    test = read_split(context.inputs["data"], "test")
    truth = truth_of(test)
    manifest = read_bundle(context.inputs["bundle"] / "bundle")
    nets = floats.read(context.inputs["references"])
    tested = bundles(context.inputs, nets)
    with closing(Local(dataclasses.replace(here, name=HERE.name))) as device:  # the report says what it is called
        job = Job(device, truth, manifest.labels, recipe.bench, context.out, recipe.seed, context.progress)
        measured = run_bench(dataclasses.replace(job, extra=references.in_torch(recipe, context, nets)), tested)
    rows, scores = measured["rows"], {net: one.scores for net, one in nets.items()}
    compared = distillation(scores, truth, test.labels)
    gain = int8_gain(manifest, rows)
    agrees, unchecked = _checked(tested, recipe.bench)
    facts = {
        "schema": 2,
        "recipe": recipe.name,
        "composed": manifest.composed,
        "labels": list(manifest.labels),
        "devices": [measured["device"]],
        "protocol": recipe.bench.protocol(),
        "agreement": agrees,
        "rows": rows,
        "distillation": compared,
        "int8_gain": gain,
        "freezing": cost(context.inputs["engines"]),
        "training": {net: training(context.inputs[net]) for net in floats.MODELS if net in context.inputs},
        "findings": read_json(context.inputs["data"] / "about.json")["findings"],
        **grid(test, manifest, rows, context.out / "scores", seed=recipe.seed),
        "notes": [
            *_notes(manifest),
            *references.notes(context.inputs["references"]),
            *_note_on_teachers(recipe),
            *_notes_on_data(test),
            *unchecked,
        ],
    }
    _tell(compared, gain, agrees)
    (context.out / "bench.json").write_text(json.dumps(plain_numbers(facts), indent=1) + "\n", encoding="utf-8")


def truth_of(test: Split) -> Truth:
    """The test set as the bench reads it."""
    return Truth(
        files=test.files,
        targets=test.targets,
        groups=test.clusters,
        major=test.major,
        minor=test.minor,
        label_mask=test.label_mask,
    )


def bundles(inputs: Mapping[str, Path], nets: Mapping[str, Float]) -> list[Bundle]:
    """What is measured on every device: the bundle that ships, then those of the references with their scores."""
    folder = inputs["references"]
    shipped = Bundle(inputs["bundle"] / "bundle", "student", "engine", nets.get("student"))
    others, scored = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")), references.scored(folder)
    return [shipped, *(Bundle(one, one.name, "reference", nets.get(one.name), scored) for one in others)]


def plain_numbers(value: Any) -> Any:
    """The same facts as JSON holds them: numpy's numbers as Python's, None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_numbers(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _checked(bundles: Sequence[Bundle], bench: Bench) -> tuple[dict[str, Any] | None, list[str]]:
    """Check the clock in a thorough bench; where the check cannot run, a note says why and the rows are kept."""
    if not bench.sustained_s:
        return None, []
    try:
        return agreement.check_agreement(bundles, bench.threads), []
    except agreement.AgreementError as cause:
        log.warning("the check against benchmark_app could not be made: %s", cause)
        return None, [f"The check against benchmark_app could not be made: {cause}"]


def _tell(compared: Mapping[str, Any], gain: Mapping[str, Any] | None, agrees: dict[str, Any] | None) -> None:
    """The answers that a run is made for, in the log."""
    nets = ", ".join(f"{net} {100 * compared[f'{net}_map']:.1f}" for net in floats.MODELS)
    low, difference, high = (100 * compared[key] for key in ("low", "difference", "high"))
    log.info("test mAP: %s; student - baseline %+.1f (95 %%: %+.1f to %+.1f)", nets, difference, low, high)
    for what in ("f32", "bf16"):
        if gain is not None and gain[f"vs_{what}"] is not None:
            kept = 100 * (gain[f"kept_of_{what}_map"] or 0)
            log.info("%s: %.2f times as fast as %s, %.1f %% of its mAP", gain["name"], gain[f"vs_{what}"], what, kept)
    if agrees is not None:
        log.info("%s", figures.agreed(agrees))


def _note_on_teachers(recipe: Recipe) -> list[str]:
    """Why the teacher's mAP may come without a latency."""
    if recipe.teacher and not recipe.ready_teachers:
        return []
    kinds = [*(["trained here"] if recipe.teacher else []), *(ready.kind for ready in recipe.ready_teachers)]
    told = f"teacher: {', '.join(kinds)}{', as one' if len(kinds) > 1 else ''}"
    return [told if kinds == ["checkpoint"] else f"{told}; not timed"]


def _notes_on_data(test: Split) -> list[str]:
    """The labels that mAP cannot count, and what the audit of the data noted."""
    absent = ", ".join(test.labels.names[label] for label in labels_without_positives(test.targets, test.label_mask))
    notes = [f"No test image is known to have: {absent}. mAP is the mean over the other labels."] if absent else []
    return notes + [f"{one['claim']} {one['numbers']}" for one in read_json(test.folder / "about.json")["notes"]]


def _notes(manifest: Manifest) -> list[str]:
    notes = [f"Licence: {licence}" for licence in (*manifest.licences, *manifest.weights)]
    if manifest.composed:
        notes.insert(
            0, "The images are composed from cut-outs and backgrounds; they are no photographs of real scenes."
        )
    return notes
