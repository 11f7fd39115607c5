"""The runs of a comparison as stages: grid → chosen → final → test, behind the recipe's own teacher outputs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import role_map
from benchmarks.device import machine
from mlkd.core.files import write_file
from mlkd.core.intervals import influence
from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import BEST
from mlkd.training import evaluate
from mlkd.training.trainer import NonFiniteLossError, train
from pipeline import stages, teachers
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.stages import teacher

FOLDER = "compare"
OUTCOME, MACHINE, CHOSEN = "outcome.json", "machine.json", "chosen.json"
TEST, INFLUENCE, SCORES = "test.json", "influence.npy", "scores.npy"
LOGS = (*teacher.LOGS, MACHINE)


def pipeline(recipe: Recipe, folder: Path, force: Collection[str] = ()) -> Pipeline:
    """The recipe's line as far as the teacher's outputs, and every run of the protocol behind it."""
    taught = stages.pipeline(recipe, folder).until("teacher_outputs").stages
    return Pipeline((*taught, *_stages(recipe)), folder, frozenset(force))


def grid_name(method: Method, factor: float) -> str:
    """A run of the grid."""
    return f"{FOLDER}/grid/{method.name}-x{factor:g}"


def chosen_name(method: Method) -> str:
    """What the grid of a method came to."""
    return f"{FOLDER}/chosen/{method.name}"


def final_name(method: Method, seed: int) -> str:
    """A run that counts."""
    return f"{FOLDER}/final/{method.name}-seed{seed}"


def test_name(method: Method, seed: int) -> str:
    """What a run that counts scored."""
    return f"{FOLDER}/test/{method.name}-seed{seed}"


def epochs(recipe: Recipe) -> tuple[int, int]:
    """Epochs of a run of the grid and of one that counts."""
    final = recipe.compare.epochs or recipe.student.training.epochs
    return max(1, final // 2), final


def _stages(recipe: Recipe) -> Iterator[Stage]:
    """Seed after seed, so that what is there when time runs out compares all methods alike."""
    for method in recipe.compare.methods:
        if method.scaled:
            yield from _grid(recipe, method)
    for seed in range(recipe.compare.seeds):
        for method in recipe.compare.methods:
            yield _final(recipe, method, seed)
            yield _test(method, seed)


def _grid(recipe: Recipe, method: Method) -> Iterator[Stage]:
    few, _ = epochs(recipe)
    tried = {factor: grid_name(method, factor) for factor in method.factors}
    for factor, name in tried.items():
        yield Stage(
            name=name,
            run=partial(_run_grid, recipe, method, factor),
            reads=_reads(recipe, method),
            version=_version(method),
            config=_config(recipe, method.losses(factor), few, seed=0),
            packages=teacher.PACKAGES,
            volatile=LOGS,
            outside=partial(teachers.first_weights, recipe.student.model),
        )
    yield Stage(
        name=chosen_name(method),
        run=partial(_choose, tried),
        reads=tuple(tried.values()),
        config={"factors": method.factors},
    )


def _final(recipe: Recipe, method: Method, seed: int) -> Stage:
    _, many = epochs(recipe)
    return Stage(
        name=final_name(method, seed),
        run=partial(_run_final, recipe, method, seed),
        reads=(*_reads(recipe, method), *([chosen_name(method)] if method.scaled else [])),
        version=_version(method),
        config=_config(recipe, method.losses(1.0), many, seed),
        packages=teacher.PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, recipe.student.model),
    )


def _test(method: Method, seed: int) -> Stage:
    final = final_name(method, seed)
    return Stage(
        name=test_name(method, seed),
        run=partial(_run_test, final),
        reads=("data", final),
        version=2,
        packages=("torch", "timm", "numpy"),
    )


def _reads(recipe: Recipe, method: Method) -> tuple[str, ...]:
    """Only a loss on stage maps needs the teacher itself at hand."""
    return ("data", *(teachers.reads(recipe) if _live(method) else ()), "teacher_outputs")


def _version(method: Method) -> int:
    """Losses on stage maps came to leave out frozen stages."""
    return 2 if _live(method) else 1


def _live(method: Method) -> bool:
    return any("features" in loss.needs for loss in method.losses(1.0))


def _config(recipe: Recipe, losses: Any, count: int, seed: int) -> dict[str, Any]:
    training = dataclasses.replace(recipe.student.training, losses=losses, epochs=count, stop_epoch=0)
    return {"model": recipe.student.model, "training": training, "seed": seed}


def _run_grid(recipe: Recipe, method: Method, factor: float, context: Context) -> None:
    few, _ = epochs(recipe)
    _train(recipe, _config(recipe, method.losses(factor), few, seed=0), context, kept=())


def _choose(tried: dict[float, str], context: Context) -> None:
    """The factor whose best epoch has the highest mAP on select; None where training diverged with every one."""
    found = {factor: _outcome(context.inputs[name])["select_map"] for factor, name in tried.items()}
    finite = {factor: value for factor, value in found.items() if value is not None}
    best = max(finite, key=finite.__getitem__, default=None)
    facts = {"factor": best, "select_map": {f"{factor:g}": value for factor, value in found.items()}}
    write_file(context.out / CHOSEN, json.dumps(facts, indent=1) + "\n")


def _run_final(recipe: Recipe, method: Method, seed: int, context: Context) -> None:
    """A method that diverged in its grid at every factor is not trained: it has diverged."""
    factor = read_json(context.inputs[chosen_name(method)] / CHOSEN)["factor"] if method.scaled else 1.0
    if factor is None:
        _write_outcome(context.out, None)
        return
    _, many = epochs(recipe)
    _train(recipe, _config(recipe, method.losses(factor), many, seed), context, kept=(BEST,))


def _train(recipe: Recipe, config: dict[str, Any], context: Context, kept: Collection[str]) -> None:
    """Train as the config says, every method on the views that the teacher has seen; only `kept` weights stay."""
    if not (context.out / OUTCOME).is_file():  # else killed when all but tidying up was done
        write_file(context.out / MACHINE, json.dumps(machine.identity()) + "\n")
        _write_outcome(context.out, _select_map(recipe, config, context))
    for file in context.out.rglob("*.safetensors"):
        if file.name not in kept:
            file.unlink()


def _select_map(recipe: Recipe, config: dict[str, Any], context: Context) -> float | None:
    """mAP on select of the best epoch; None if training diverged."""
    try:
        train(
            config["model"],
            config["training"],
            recipe.views,
            context.inputs["data"],
            context.out,
            seed=config["seed"],
            teacher_outputs=context.inputs["teacher_outputs"],
            teacher=teachers.net(recipe, context.inputs),
            progress=context.progress,
        )
    except NonFiniteLossError:
        return None
    return max(float(epoch["select_map"]) for epoch in read_json(context.out / "history.json"))


def _run_test(final: str, context: Context) -> None:
    """Scores of the best epoch on test, mAP by role, and the influence of every image on mAP."""
    if _outcome(context.inputs[final])["select_map"] is None:
        write_file(context.out / TEST, json.dumps({"map": None}) + "\n")
        return
    test = read_split(context.inputs["data"], "test")
    scores = evaluate.score_folder(context.inputs[final], test)
    np.save(context.out / SCORES, scores)
    np.save(context.out / INFLUENCE, influence(scores, test.targets, test.clusters, label_mask=test.label_mask))
    facts = {
        "map": mean_average_precision(scores, test.targets, test.label_mask),
        "major": role_map(scores, test.targets, test.major, test.label_mask),
        "minor": role_map(scores, test.targets, test.minor, test.label_mask),
    }
    write_file(context.out / TEST, json.dumps(facts) + "\n")


def _outcome(folder: Path) -> Any:
    return read_json(folder / OUTCOME)


def _write_outcome(out: Path, select_map: float | None) -> None:
    """mAP on select of the best epoch; None if training diverged."""
    write_file(out / OUTCOME, json.dumps({"select_map": select_map}) + "\n")
