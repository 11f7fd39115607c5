"""The stages of a comparison: scale → grid → chosen → final → test.  They read the recipe's own teacher outputs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.device import machine
from mlkd.core.intervals import influence
from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import read_split
from mlkd.models.checkpoint import BEST
from mlkd.training import evaluate
from mlkd.training.divergence import NonFiniteLossError
from mlkd.training.trainer import train
from pipeline import stages, teachers
from pipeline.compare import scales
from pipeline.compare.parts import part_maps
from pipeline.declarations import distill
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.result import read_json, write_json
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.stages.data import features_folder

FOLDER = "compare"
OUTCOME, MACHINE, CHOSEN, SETTINGS = "outcome.json", "machine.json", "chosen.json", "settings.json"
TEST, INFLUENCE, SCORES = "test.json", "influence.npy", "scores.npy"
LOGS = (*distill.LOGS, MACHINE)


def pipeline(recipe: Recipe, folder: Path, force: Collection[str] = ()) -> Pipeline:
    """The recipe's pipeline up to the teacher outputs, then every training and test of the protocol."""
    before = stages.pipeline(recipe, folder).until("teacher_outputs").stages
    start = scales.start(recipe, epochs(recipe)[0])
    return Pipeline((*before, start, *_stages(recipe)), folder, frozenset(force))


def stage_name(
    kind: Literal["scale", "grid", "chosen", "final", "test"], method: Method, seed: int | None = None
) -> str:
    """Name a stage: *chosen* is the result of a method's grid, *final* a training that counts, *test* its scores.

    A method's *scale* is the size of its gradient.
    """
    return f"{FOLDER}/{kind}/{method.name}" + ("" if seed is None else f"-seed{seed}")


def epochs(recipe: Recipe, method: Method | None = None) -> tuple[int, int]:
    """Epochs of a training of the grid and of a final one, for a method or for most of them."""
    final = recipe.compare.epochs or recipe.student.training.epochs
    length = method.length if method else 1.0
    return max(1, final // 2), max(1, round(length * final))


def _stages(recipe: Recipe) -> Iterator[Stage]:
    """All grids, then seed after seed, so that an interrupted comparison has as many seeds of every method."""
    for method in recipe.compare.methods:
        if method.grid:
            yield from _grid(recipe, method)
    for seed in range(recipe.compare.seeds):
        for method in recipe.compare.methods:
            if seed < recipe.compare.seeds_of(method):
                yield from _final(recipe, method, seed)


def _grid(recipe: Recipe, method: Method) -> Iterator[Stage]:
    if method.scaled:
        yield scales.scale(recipe, method, stage_name("scale", method))
    values = recipe.compare.grid_of(method)
    names = {value: f"{stage_name('grid', method)}-{value:g}" for value in values}
    for value, name in names.items():
        yield _training(recipe, method, name, value, epochs(recipe)[0], seed=0)
    yield Stage(
        name=stage_name("chosen", method),
        run=partial(_choose, names),
        reads=tuple(names.values()),
        config={"values": values},
        version=2,  # rates
    )


def _final(recipe: Recipe, method: Method, seed: int) -> Iterator[Stage]:
    final = stage_name("final", method, seed)
    chosen = stage_name("chosen", method) if method.grid else None
    yield _training(recipe, method, final, None, epochs(recipe, method)[1], seed, chosen=chosen, keep=(BEST,))
    yield Stage(
        name=stage_name("test", method, seed),
        run=partial(_test, final),
        reads=("data", final),
        version=3,  # parts of the test set
        packages=("torch", "timm", "numpy"),
    )


def _training(
    recipe: Recipe,
    method: Method,
    name: str,
    value: float | None,
    count: int,
    seed: int,
    *,
    chosen: str | None = None,
    keep: Collection[str] = (),
) -> Stage:
    """Declare a training of `count` epochs, at a `value` of the method's grid or at the one that `chosen` gives.

    What its base adds has the share that was chosen for the base.  Of its weights, only the files `keep` remain.
    """
    base, all_losses = recipe.compare.base_of(method), recipe.compare.losses(method)
    live = any("features" in loss.needs for loss in all_losses)  # losses on stage maps run the teacher itself
    inputs = ("data", *(teachers.reads(recipe) if live else ()), "teacher_outputs")
    scaled = [one for one in (base, method) if one and one.scaled]
    values = tuple(filter(None, (stage_name("chosen", base) if base else None, chosen)))
    factors = (*(stage_name("scale", one) for one in scaled), *values)
    training = dataclasses.replace(recipe.student.training, losses=all_losses, epochs=count, stop_epoch=0)
    ramps = count / epochs(recipe)[1]  # the same share of a training of another length
    config = {"model": recipe.student.model, "training": training, "seed": seed, "ramps": ramps, "value": value}
    return Stage(
        name=name,
        run=partial(_train, recipe, method, config, chosen, keep),
        reads=(*inputs, *factors),
        version=6,  # rates
        config=config,
        packages=distill.PACKAGES,
        volatile=LOGS,
        outside=partial(teachers.first_weights, recipe.student.model),
    )


def _choose(names: Mapping[float, str], context: Context) -> None:
    """Write the value whose best epoch has the highest mAP on select; None where training diverged with every one."""
    maps = {value: _select_map(context.inputs[name]) for value, name in names.items()}
    finite = {value: found for value, found in maps.items() if found is not None}
    best = max(finite, key=finite.__getitem__, default=None)
    facts = {"value": best, "select_map": {f"{value:g}": found for value, found in maps.items()}}
    write_json(context.out / CHOSEN, facts)


def _train(
    recipe: Recipe,
    method: Method,
    config: Mapping[str, Any],
    chosen: str | None,
    keep: Collection[str],
    context: Context,
) -> None:
    base = recipe.compare.base_of(method)
    found = {method: _value(context, chosen) if chosen else config["value"]} if method.grid else {}
    found |= {base: _value(context, stage_name("chosen", base))} if base else {}
    values = {one: float(value) for one, value in found.items() if value is not None}
    if len(values) < len(found):  # training diverged at every value of a grid
        write_json(context.out / OUTCOME, {"select_map": None}, indent=None)
        return
    factors = {
        one: scales.read_factor(context, stage_name("scale", one), value) if one.scaled else 1.0
        for one, value in values.items()
    }
    losses = method.losses(factors.get(method, 1.0), base.scale(factors[base]) if base else ())
    ramped = tuple(dataclasses.replace(loss, ramp_epochs=config["ramps"] * loss.ramp_epochs) for loss in losses)
    rate = math.prod(value for one, value in values.items() if not one.scaled) * config["training"].learning_rate
    training = dataclasses.replace(config["training"], losses=ramped, learning_rate=rate)
    weights = {loss.kind: loss.weight for loss in losses}
    write_json(context.out / SETTINGS, {"learning_rate": rate, "weights": weights}, indent=None)
    if not (context.out / OUTCOME).is_file():  # written already: interrupted while removing weights
        write_json(context.out / MACHINE, machine.identity(), indent=None)
        select_map = _trained_map(recipe, {**config, "training": training}, context)
        write_json(context.out / OUTCOME, {"select_map": select_map}, indent=None)
    scales.remove_weights(context.out, keep)


def _value(context: Context, chosen: str) -> float | None:
    """The share or rate that a grid has chosen; None where training diverged at every one."""
    value: float | None = read_json(context.inputs[chosen] / CHOSEN)["value"]
    return value


def _trained_map(recipe: Recipe, config: Mapping[str, Any], context: Context) -> float | None:
    """Train on the views that the teacher saw; returns the best epoch's mAP on select, None if training diverged."""
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
            features=features_folder(context),
            progress=context.progress,
        )
    except NonFiniteLossError:
        return None
    return max(float(epoch["select_map"]) for epoch in read_json(context.out / "history.json"))


def _test(final: str, context: Context) -> None:
    """Write the best epoch's scores of test, mAP of its parts, and the influence of every image on mAP."""
    if _select_map(context.inputs[final]) is None:
        write_json(context.out / TEST, {"map": None}, indent=None)
        return
    test = read_split(context.inputs["data"], "test")
    scores = evaluate.score_folder(context.inputs[final], test)
    np.save(context.out / SCORES, scores)
    np.save(context.out / INFLUENCE, influence(scores, test.targets, test.clusters, label_mask=test.label_mask))
    train = read_split(context.inputs["data"], "train")
    facts = {
        "map": mean_average_precision(scores, test.targets, test.label_mask),
        "parts": part_maps(scores, test, train),
    }
    write_json(context.out / TEST, facts, indent=None)


def _select_map(folder: Path) -> float | None:
    """The best epoch's mAP on select; None if training diverged."""
    value: float | None = read_json(folder / OUTCOME)["select_map"]
    return value
