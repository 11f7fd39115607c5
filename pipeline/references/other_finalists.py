"""The finalists of a search: those that were not chosen are measured beside the bundle of the chosen one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.parsing import parse
from benchmarks.sections import Distillation, SearchResult
from mlkd.core.labels import Labels
from pipeline.runner.result import read, read_json

if TYPE_CHECKING:  # torch takes seconds, and a plan needs only `contents`
    from benchmarks.accuracy import Truth
    from benchmarks.measured_models import Bundle

RESULT, FOLDERS = "finals.json", "folders.json"  # a SearchResult, and by model the folder beside the search's
BUNDLE, SCORES = "bundle", "scores"  # the stages of a finalist that are measured
MODELS = ("student", "baseline")


def contents(finals: Path | None) -> dict[str, Any]:
    """Return hashes of all that is measured of the finals in the folder of that stage; empty without finals."""
    if finals is None:
        return {}
    found = {"finals": read(finals)}
    found |= {
        f"{model} {stage}": read(at / stage) for model, at in _folders(finals).items() for stage in (BUNDLE, SCORES)
    }
    return {"finals": {name: one and one.content for name, one in found.items()}}


def bundles(finals: Path | None) -> list[Bundle]:
    """Return the bundles of the finalists that were not chosen, with their float scores."""
    from benchmarks.measured_models import Bundle
    from pipeline.references import scores

    found = _folders(finals) if finals else {}
    return [
        Bundle(at / BUNDLE / "bundle", model, reference=scores.read(at / SCORES, MODELS)["student"])
        for model, at in found.items()
    ]


def measured(finals: Path, chosen: Distillation, truth: Truth, labels: Labels) -> SearchResult:
    """Return the result of the search with the mAP of its finalists on test; that of the chosen one is known."""
    from pipeline.references import scores
    from pipeline.report_facts.gains import distillation

    search = parse(SearchResult, read_json(finals / RESULT))
    folders, students = _folders(finals), []
    for student in search.students:
        compared = chosen
        if student.model in folders:
            own = scores.read(folders[student.model] / SCORES, MODELS)
            compared = distillation({net: one.scores for net, one in own.items()}, truth, labels)
        known = ("student_map", "baseline_map", "difference", "low", "high")
        students.append(dataclasses.replace(student, **{name: getattr(compared, name) for name in known}))
    return dataclasses.replace(search, students=students)


def _folders(finals: Path) -> Mapping[str, Path]:
    """The folders of the finalists that were not chosen, by model."""
    named = read_json(finals / FOLDERS)
    return {model: finals.parent.parent / name for model, name in named.items()}
