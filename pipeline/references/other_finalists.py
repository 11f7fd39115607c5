"""The finalists of a search: those that were not chosen are measured beside the bundle of the chosen one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.runner.result import read, read_json

if TYPE_CHECKING:  # torch and numpy take time, and a plan needs only `contents`
    from benchmarks.accuracy import Truth
    from benchmarks.measured_models import Bundle
    from benchmarks.sections import Distillation, SearchResult

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


def measured(finals: Path, chosen: Distillation, truth: Truth) -> SearchResult:
    """Return the result of the search with the mAP of its finalists on test; that of the chosen one is known."""
    from benchmarks.parsing import parse
    from benchmarks.sections import SearchResult
    from mlkd.core.metrics import mean_average_precision
    from pipeline.references import scores
    from pipeline.report_facts.gains import paired_difference

    def compare(at: Path) -> dict[str, Any]:
        own = {model: one.scores for model, one in scores.read(at / SCORES, MODELS).items()}
        maps = {
            f"{model}_map": mean_average_precision(values, truth.targets, truth.label_mask)
            for model, values in own.items()
        }
        return {**maps, **vars(paired_difference(own["student"], own["baseline"], truth))}

    search = parse(SearchResult, read_json(finals / RESULT))
    known = ("student_map", "baseline_map", "difference", "low", "high")
    values = {name: getattr(chosen, name) for name in known}
    compared = {model: compare(at) for model, at in _folders(finals).items()}
    students = [dataclasses.replace(one, **compared.get(one.model, values)) for one in search.students]
    return dataclasses.replace(search, students=students)


def _folders(finals: Path) -> Mapping[str, Path]:
    """The folders of the finalists that were not chosen, by model."""
    named = read_json(finals / FOLDERS)
    return {model: finals.parent.parent / name for model, name in named.items()}
