"""Stage bench: measure the bundle on this machine.  Only this stage and `compare` read the test split."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.accuracy import ReferenceScores, Truth
from benchmarks.config import Bench
from benchmarks.measured_models import Bundle
from benchmarks.parsing import parse, to_json
from benchmarks.remote import DeviceEntry, Local
from benchmarks.report import figures
from benchmarks.report.recommendation import budget_of
from benchmarks.run import Job, run_bench
from benchmarks.schema import VERSION, Report
from benchmarks.sections import Agreement, Distillation, Finding, Int8Gain
from export.bundle.bundle import MANIFEST, Manifest, read_bundle
from mlkd.core.metrics import labels_without_positives
from mlkd.data.prepared import Split, read_split
from pipeline.recipe.device_list import HERE
from pipeline.recipe.schema import Recipe
from pipeline.references import other_finalists, scores
from pipeline.report_facts import agreement
from pipeline.report_facts.gains import continued, distillation, int8_gain, training
from pipeline.report_facts.image_grid import grid
from pipeline.report_facts.layer_times import profile_engines
from pipeline.runner import result
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context
from pipeline.stages import references
from pipeline.stages.engines import cost
from pipeline.stages.precisions import FP32

log = logging.getLogger(__name__)


def run(recipe: Recipe, here: DeviceEntry, finals: Path | None, context: Context) -> None:
    """Engines and references through their own programs on this machine, and what distillation gave; bench.json.

    `finals` is the result of the search that found the student.
    """
    test = read_split(context.inputs["data"], "test")
    truth = truth_of(test)
    manifest = read_bundle(context.inputs["bundle"] / "bundle")
    reference_scores = scores.read(context.inputs["references"])
    measured_bundles = bundles(context.inputs, reference_scores, finals)
    with closing(Local(dataclasses.replace(here, name=HERE.name))) as device:  # the report gives it its own name
        job = Job(device, truth, manifest.labels, recipe.bench, context.out, recipe.seed, context.progress)
        extra = references.in_torch(recipe, context, reference_scores)
        measured = run_bench(dataclasses.replace(job, extra=extra), measured_bundles)
    compared = distillation({net: own.scores for net, own in reference_scores.items()}, truth, test.labels)
    since = continued(
        scores.read_before(context.inputs["references"]), reference_scores["student"].scores, truth, test.labels
    )
    gain = int8_gain(manifest, measured.rows)
    agreed, unchecked = _check_clock(measured_bundles, recipe.bench)
    search = other_finalists.measured(finals, compared, truth) if finals else None
    page = grid(test, manifest, measured.rows, context.out / "scores", seed=recipe.seed, budget=budget_of(search))
    notes = [*_notes(manifest), *references.notes(context.inputs["references"]), *_note_on_teachers(recipe)]
    notes += [*_notes_on_data(test), *_notes_on_training(context.inputs), *unchecked]
    report = Report(
        schema=VERSION,
        recipe=recipe.name,
        composed=manifest.composed,
        labels=list(manifest.labels),
        devices=[measured.device],
        protocol=recipe.bench.protocol(),
        agreement=agreed,
        rows=measured.rows,
        distillation=compared,
        continued=since,
        int8_gain=gain,
        search=search,
        layer_times=profile_engines(
            recipe,
            context.inputs["bundle"] / "bundle",
            context.inputs["engines"] / "models" / FP32,
            measured.rows,
            budget_of(search),
        ),
        freezing=cost(context.inputs["engines"]),
        training={net: training(context.inputs[net]) for net in scores.MODELS if net in context.inputs},
        findings=parse(list[Finding], read_json(context.inputs["data"] / "about.json")["findings"]),
        images=page.images,
        grid=page.grid,
        mistakes=page.mistakes,
        notes=notes,
    )
    _log_results(compared, gain, agreed)
    write_json(context.out / "bench.json", to_json(report))


def truth_of(test: Split) -> Truth:
    """The test set as the bench reads it."""
    return Truth(
        files=test.files,
        targets=test.targets,
        groups=test.clusters,
        major=test.of_role("major"),
        minor=test.of_role("minor"),
        label_mask=test.label_mask,
    )


def bundles(
    inputs: Mapping[str, Path], reference_scores: Mapping[str, ReferenceScores], finals: Path | None
) -> list[Bundle]:
    """Return what is measured on every device: the bundle to deploy, other finalists, and references, with scores."""
    folder = inputs["references"]
    deployed = Bundle(inputs["bundle"] / "bundle", "student", reference=reference_scores.get("student"))
    others, scored = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}")), references.scored(folder)
    return [
        deployed,
        *other_finalists.bundles(finals),
        *(Bundle(path, path.name, "reference", reference_scores.get(path.name), scored) for path in others),
    ]


def _check_clock(bundles: Sequence[Bundle], bench: Bench) -> tuple[Agreement | None, list[str]]:
    """Check the clock in a thorough bench; where the check cannot run, a note says why and the rows are kept."""
    if not bench.sustained_s:
        return None, []
    try:
        return agreement.check_agreement(bundles, bench.threads), []
    except agreement.AgreementError as cause:
        log.warning("the check against benchmark_app could not be made: %s", cause)
        return None, [f"The check against benchmark_app could not be made: {cause}"]


def _log_results(compared: Distillation, gain: Int8Gain | None, agreed: Agreement | None) -> None:
    """Log mAP, the gain of distillation and that of int8."""
    nets = ", ".join(f"{net} {figures.points(getattr(compared, f'{net}_map'))}" for net in scores.MODELS)
    difference, *ends = map(figures.signed, (compared.difference, compared.low, compared.high))
    known = compared.low is not None and math.isfinite(compared.low)
    interval = f"95 %: {' to '.join(ends)}" if known else "too few test images for an interval"
    log.info("test mAP: %s; student - baseline %s (%s)", nets, difference, interval)
    if gain is not None:
        for kind, ratio, kept in (
            ("f32", gain.vs_f32, gain.kept_of_f32_map),
            ("bf16", gain.vs_bf16, gain.kept_of_bf16_map),
        ):
            if ratio is not None:
                percent = figures.percent(kept)
                log.info("%s: %.2f times as fast as %s, %s of its mAP", gain.name, ratio, kind, percent)
    if agreed is not None:
        log.info("%s", figures.agreed(agreed))


def _note_on_teachers(recipe: Recipe) -> list[str]:
    """Why the teacher's mAP may come without a latency."""
    if recipe.teacher and not recipe.ready_teachers:
        return []
    kinds = [*(["trained here"] if recipe.teacher else []), *(ready.kind for ready in recipe.ready_teachers)]
    note = f"teacher: {', '.join(kinds)}{', as one' if len(kinds) > 1 else ''}"
    return [note if kinds == ["checkpoint"] else f"{note}; not timed"]


def _notes_on_data(test: Split) -> list[str]:
    """The labels that mAP cannot count, and what the audit of the data noted."""
    absent = ", ".join(test.labels.names[label] for label in labels_without_positives(test.targets, test.label_mask))
    notes = [f"No test image is known to have: {absent}. mAP is the mean over the other labels."] if absent else []
    audit = read_json(test.folder / "about.json")["notes"]
    return notes + [f"{finding['claim']} {finding['numbers']}" for finding in audit]


def _notes_on_training(inputs: Mapping[str, Path]) -> list[str]:
    """On which processor and with how many threads the models were trained."""
    models: dict[str, list[str]] = {}
    for model in ("teacher", "student", "baseline"):
        made = result.read(inputs[model]) if model in inputs else None
        if made and made.made_with:
            text = "{cpu} ({instruction_set}), threads: {threads}".format(**made.made_with)
            models.setdefault(text, []).append(model)
    differ = "Weights from another processor or number of threads differ slightly."
    return [f"Trained on {text}: {', '.join(names)}. {differ}" for text, names in models.items()]


def _notes(manifest: Manifest) -> list[str]:
    notes = [f"Licence: {licence}" for licence in (*manifest.licences, *manifest.weights)]
    if manifest.composed:
        notes.insert(
            0, "The images are composed from cut-outs and backgrounds; they are no photographs of real scenes."
        )
    return notes
