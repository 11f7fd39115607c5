"""The stages of a search that train: after the screen the teacher, its outputs, and race."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlkd.core.progress import Progress
from pipeline import stages, teachers
from pipeline.declarations import distill
from pipeline.recipe.device_list import DeviceList
from pipeline.recipe.schema import Recipe
from pipeline.recipe.search import Search
from pipeline.runner import result
from pipeline.runner.decision import Decision
from pipeline.runner.speed import Work
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.search import stages as screening
from pipeline.search.candidates import Candidate, candidates
from pipeline.search.rows import Verdict, check_kept, read_screen
from pipeline.search.thinning import thin

log = logging.getLogger(__name__)
SCREEN, RESULT = screening.RESULT, "race"
WORK = f"{RESULT}.work"  # trainings, beside the result
VERSION = 2  # of the result, with trainings beside it; raised as well when equal trainings end otherwise


def pipeline(
    recipe: Recipe, folder: Path, force: Collection[str] = (), device_list: DeviceList | None = None
) -> Pipeline:
    """Build all stages of the recipe's search, those of the screen first, with results in `folder`.

    Raises:
        ValueError: As `screening.pipeline`.
    """
    screen = screening.pipeline(recipe, folder, device_list=device_list).stages
    taught = stages.pipeline(recipe, folder).until("teacher_outputs").stages
    found = candidates_of(recipe)
    learning = [stage for stage in taught if stage.name not in {one.name for one in screen}]
    race = _race(recipe, found, repeated=(folder / WORK).is_dir())
    return Pipeline((*screen, *learning, race), folder, frozenset(force))


def join(recipe: Recipe, pipeline: Pipeline, progress: Progress) -> None:
    """Train candidates beside a search that runs in the same folder, until its race ends.

    Raises:
        ValueError: No race of this recipe is running.
    """
    stage, folder = pipeline.stages[-1], pipeline.folder
    partial = folder / f"{RESULT}.partial"
    started = partial / result.STARTED
    identity = result.read_json(started) if started.is_file() else None
    if identity is None or identity != pipeline.identity(stage):
        raise ValueError(
            f"search: expected a running race of this recipe in {partial}, got {'another' if identity else 'none'}; "
            "start search without --join first, and wait until it trains candidates"
        )
    context = Context(partial, {name: folder / name for name in stage.reads}, progress)
    try:
        _run_race(recipe, candidates_of(recipe), context, joins=True)
    except FileNotFoundError:
        if partial.exists():
            raise
    log.info("race: ended")


def describe_trained(recipe: Recipe, pipeline: Pipeline, steps: Sequence[Decision]) -> str | None:
    """Say how many candidates were trained before, if the race, the last stage of the pipeline, is known to run."""
    from pipeline.search.trainings import rung_file  # numpy takes time

    waiting = {step.stage for step in steps if step.runs or step.reused}
    if RESULT not in waiting or waiting & set(pipeline.stages[-1].reads) - {SCREEN}:
        return None
    folders = training_folders(recipe, candidates_of(recipe), pipeline.folder).values()
    trained = sum(rung_file(folder, 1).is_file() for folder in folders)
    return f"{trained} of {len(folders)} candidates were trained before; their finished rungs are not trained again"


def candidates_of(recipe: Recipe) -> dict[str, Candidate]:
    """Return the candidates of the recipe's search by name."""
    return {one.name: one for one in candidates(search_of(recipe), recipe.student.model)}


def search_of(recipe: Recipe) -> Search:
    """Return the search of a recipe that has one."""
    assert recipe.search is not None, "the screen has refused a recipe without a search"
    return recipe.search


def _race(recipe: Recipe, found: Mapping[str, Candidate], *, repeated: bool) -> Stage:
    """It reads the teacher itself as the stage student does; one that is repeated is shorter."""
    training, search = recipe.student.training, search_of(recipe)
    live = teachers.reads(recipe) if "features" in training.needs else ()
    models = {name: candidate.model for name, candidate in found.items()}
    return Stage(
        name=RESULT,
        run=partial(_run_race, recipe, found),
        reads=("data", *live, "teacher_outputs", screening.RESULT),
        config={"models": models, "training": training, "seed": recipe.seed, "minutes": search.minutes},
        version=VERSION,
        packages=(*distill.PACKAGES, "optuna"),
        outside=partial(_first_weights, found),
        volatile=("study.log*",),
        work=Work(
            units=search.minutes,
            kind=f"{recipe.name} repeated" if repeated else recipe.name,
            unit_s=60.0,
            bytes=100_000,
            work_bytes=200_000_000,
        ),
    )


def training_folders(recipe: Recipe, found: Mapping[str, Candidate], folder: Path) -> dict[str, Path]:
    """Return the folder of the training of each candidate, named by all that a student depends on."""
    folders = {}
    for name, one in found.items():
        own = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, model=one.model))
        identity = Pipeline((), folder).identity(distill.student(own))
        folders[name] = folder / WORK / f"{one.model.backbone}.{result.digest([VERSION, identity])[:16]}"
    return folders


def _first_weights(found: Mapping[str, Candidate]) -> dict[str, Any]:
    return {name: weights for name, one in found.items() if (weights := teachers.first_weights(one.model))}


def _entrants(
    recipe: Recipe, found: Mapping[str, Candidate], folder: Path
) -> tuple[dict[str, Candidate], list[Verdict], dict[str, str]]:
    """The candidates to train in the order of the screen, all within the budget, and those of them that are dropped."""
    screen = read_screen(folder)
    check_kept(screen.verdicts, search_of(recipe))
    kept = [verdict for verdict in screen.verdicts if verdict.kept]
    dropped = thin(kept, {name: candidate.model for name, candidate in found.items()})
    names = [verdict.candidate for verdict in kept if verdict.candidate not in dropped]
    return {name: found[name] for name in names}, kept, dropped


def _run_race(recipe: Recipe, found: Mapping[str, Candidate], context: Context, *, joins: bool = False) -> None:
    from pipeline.search import race  # torch and optuna take seconds
    from pipeline.search.objective import Setting
    from pipeline.stages.data import features_folder

    entrants, kept, dropped = _entrants(recipe, found, context.inputs[screening.RESULT])
    setting = Setting(
        training=recipe.student.training,
        views=recipe.views,
        seed=recipe.seed,
        images=context.inputs["data"],
        teacher_outputs=context.inputs["teacher_outputs"],
        teacher=teachers.net(recipe, context.inputs),
        features=features_folder(context),
        folders=training_folders(recipe, entrants, context.inputs["data"].parent),
    )
    latency = {verdict.candidate: verdict.latency for verdict in kept}
    race.run(entrants, latency, dropped, setting, search_of(recipe).minutes, context, joins=joins)
