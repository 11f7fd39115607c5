"""Run a comparison or a part of it, and write its page after the grid and after every seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mlkd.core.progress import Progress
from mlkd.losses.base import Need
from mlkd.losses.pca_maps import components
from pipeline.compare import runs
from pipeline.compare.page import render
from pipeline.compare.table import Table, read_table
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.speed import Expected
from pipeline.runner.stage import Pipeline

RECORDED: frozenset[Need] = frozenset({"label_maps", "last_map"})  # stage maps come from the teacher itself otherwise


def compare(
    recipe: Recipe,
    folder: Path,
    progress: Callable[[Expected], Progress],
    *,
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
    force: Collection[str] = (),
) -> Table:
    """Run what is not finished of a comparison in `folder`, runs/NAME, and write its page, also when interrupted.

    Without names of `methods` or the number of `seeds`, all of the protocol run.  Returns the table of everything that
    is finished.

    Raises:
        ValueError: The protocol has no such method, seed or stage, a loss needs more than the teachers give, or the
            best value of a grid is at its edge and `wider` does not name the method: then nothing was tested.
        StageError: A stage failed.
    """
    selected, count = _methods(recipe, methods), _seeds(recipe, seeds)
    pipeline = runs.pipeline(recipe, folder, force)
    grids = [runs.stage_name("chosen", method) for method in selected if method.grid]
    tests = [
        [runs.stage_name("test", method, seed) for method in selected if seed < recipe.compare.seeds_of(method)]
        for seed in range(count)
    ]
    for targets in (grids, *tests):
        try:
            pipeline = _run(pipeline, targets, progress)
        finally:
            table = read_table(recipe, folder)
            render(recipe, table, folder / runs.FOLDER)
        if targets is grids:
            _check_edges(recipe, selected, table)
    return table


def _check_edges(recipe: Recipe, selected: Sequence[Method], table: Table) -> None:
    names = {method.name for method in selected} - recipe.compare.wider.keys()
    edges = {row.method: (row.value, row.beyond) for row in table.rows if row.method in names and row.beyond}
    if edges:
        chosen = ", ".join(f"{name} {value:g}" for name, (value, _) in edges.items())
        wider = ", ".join(f"{name}: [{beyond:.2g}]" for name, (_, beyond) in edges.items())
        raise ValueError(
            f"compare: expected the best value of each grid inside it, got {chosen} at the edge; nothing was tested. "
            f"Add compare.wider: {{{wider}}} to the recipe and rerun; an empty list accepts an edge"
        )


def _run(pipeline: Pipeline, targets: Sequence[str], progress: Callable[[Expected], Progress]) -> Pipeline:
    """Run what the targets need; returns the pipeline without the forced stages that ran."""
    part = pipeline.until("teacher_outputs", *targets)
    part.run(progress)
    return dataclasses.replace(pipeline, force=pipeline.force - {stage.name for stage in part.stages})


def _methods(recipe: Recipe, names: Sequence[str] | None) -> list[Method]:
    known = {method.name: method for method in recipe.compare.methods}
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"--methods: expected some of {', '.join(known)}, got {name!r}; add others to the recipe, "
                "key compare.methods"
            )
    selected = [method for name, method in known.items() if names is None or name in names]
    kinds = {method.name: recipe.lacking(recipe.compare.losses(method)) for method in selected}
    lacking = [f"{name} ({', '.join(losses)})" for name, losses in kinds.items() if losses]
    if lacking:
        raise ValueError(
            f"methods: expected losses on logits only, as ONNX teachers give nothing else, got {', '.join(lacking)}; "
            "select others with --methods, or add a teacher that is a checkpoint"
        )
    _check_recorded(recipe, selected)
    return selected


def _check_recorded(recipe: Recipe, selected: Sequence[Method]) -> None:
    """Raise ValueError for losses on maps that are not recorded for the student of the recipe."""
    training, losses = recipe.student.training, {one.name: recipe.compare.losses(one) for one in selected}
    lost = [
        name
        for name, own in losses.items()
        if RECORDED & dataclasses.replace(training, losses=own).needs - training.needs
        or components(own) > components(training.losses)
    ]
    if lost:
        raise ValueError(
            "methods: expected only losses on maps that are recorded for the student's own losses, got "
            f"{', '.join(lost)}; add their losses to student.training.losses, or select others with --methods"
        )


def _seeds(recipe: Recipe, count: int | None) -> int:
    most = recipe.compare.seeds
    if count is not None and not 1 <= count <= most:
        raise ValueError(f"--seeds: expected 1..{most}, got {count}; for more set compare.seeds in the recipe")
    return most if count is None else count
