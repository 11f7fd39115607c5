"""Run a comparison, all of it or a part, and write its page after the grid and every seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mlkd.core.progress import Progress
from pipeline import stages
from pipeline.compare import runs
from pipeline.compare.page import render
from pipeline.compare.table import Table, read_table
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.stage import Pipeline, Stage


def compare(
    recipe: Recipe,
    folder: Path,
    progress: Callable[[Stage], Progress],
    *,
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
    force: Collection[str] = (),
) -> Table:
    """Run what is not finished of these methods and the first `seeds` seeds (None: all of the protocol); its table.

    The page tells of every finished run, also when this one is stopped.  Raises ValueError for what the protocol has
    not, and for a method that compares with more than the teachers give.
    """
    chosen, wanted = _methods(recipe, methods), _seeds(recipe, seeds)
    line = runs.pipeline(recipe, folder, force)
    stages.data.fetch_if_needed(recipe, line, progress)
    grids = [runs.chosen_name(method) for method in chosen if method.scaled]
    for targets in (grids, *([runs.test_name(method, seed) for method in chosen] for seed in range(wanted))):
        try:
            line = _run(line, targets, progress)
        finally:
            table = read_table(recipe, folder)
            render(recipe, table, folder / runs.FOLDER)
    return table


def _run(line: Pipeline, targets: Sequence[str], progress: Callable[[Stage], Progress]) -> Pipeline:
    """Run what the targets need; the line, with nothing of it to be forced again."""
    part = line.until("teacher_outputs", *targets)
    part.run(progress)
    return dataclasses.replace(line, force=line.force - {stage.name for stage in part.stages})


def _methods(recipe: Recipe, names: Sequence[str] | None) -> list[Method]:
    known = {method.name: method for method in recipe.compare.methods}
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"--methods: expected some of {', '.join(known)}, got {name!r}; others go into the recipe, "
                "key compare.methods"
            )
    chosen = [known[name] for name in known if names is None or name in names]
    _check_teachers(recipe, chosen)
    return chosen


def _check_teachers(recipe: Recipe, methods: Sequence[Method]) -> None:
    kinds = {one.name: recipe.lacking(one.losses(1.0)) for one in methods}
    lacking = [f"{name} ({', '.join(lost)})" for name, lost in kinds.items() if lost]
    if lacking:
        raise ValueError(
            f"methods: expected losses on logits alone, as ONNX teachers give no more, got {', '.join(lacking)}; "
            "name others with --methods, or add a teacher that is a net of ours"
        )


def _seeds(recipe: Recipe, count: int | None) -> int:
    most = recipe.compare.seeds
    if count is not None and not 1 <= count <= most:
        raise ValueError(f"--seeds: expected 1..{most}, got {count}; for more set compare.seeds in the recipe")
    return most if count is None else count
