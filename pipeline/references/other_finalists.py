"""The finalists of a search that were not chosen: they are measured beside the bundle of the chosen one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from benchmarks.accuracy import Truth
from benchmarks.measured_models import Bundle
from benchmarks.parsing import parse
from benchmarks.sections import Distillation, SearchResult
from mlkd.core.metrics import mean_average_precision
from pipeline.finals_folder import BUNDLE, RESULT, SCORES, folders
from pipeline.references import scores
from pipeline.report_facts.gains import paired_difference
from pipeline.runner.result import read_json

MODELS = ("student", "baseline")


def bundles(finals: Path | None) -> list[Bundle]:
    """Return their bundles, with their float scores; none without finals."""
    return [
        Bundle(at / BUNDLE / "bundle", model, reference=scores.read(at / SCORES, MODELS)["student"])
        for model, at in (folders(finals) if finals else {}).items()
    ]


def measured(finals: Path, chosen: Distillation, truth: Truth) -> SearchResult:
    """Return the result of the search with the mAP of all finalists on test; that of the chosen one is known."""
    search = parse(SearchResult, read_json(finals / RESULT))
    known = ("student_map", "baseline_map", "difference", "low", "high")
    values = {name: getattr(chosen, name) for name in known}
    compared = {model: _compare(at, truth) for model, at in folders(finals).items()}
    students = [dataclasses.replace(one, **compared.get(one.model, values)) for one in search.students]
    return dataclasses.replace(search, students=students)


def _compare(at: Path, truth: Truth) -> dict[str, Any]:
    """The mAP of a finalist with and without a teacher, and their difference."""
    own = {model: one.scores for model, one in scores.read(at / SCORES, MODELS).items()}
    maps = {
        f"{model}_map": mean_average_precision(values, truth.targets, truth.label_mask) for model, values in own.items()
    }
    return {**maps, **vars(paired_difference(own["student"], own["baseline"], truth))}
