"""The finals of a search: the best candidates are trained whole, and one of them is the student of the recipe."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.parsing import parse, to_json
from benchmarks.schema import STUDENT
from benchmarks.sections import SearchResult
from mlkd.core.progress import Progress
from pipeline import finals_folder, stages
from pipeline.declarations import export as to_export
from pipeline.recipe.device_list import DeviceList
from pipeline.recipe.schema import Recipe, Trained
from pipeline.runner import result
from pipeline.runner.speed import Expected, Work
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.search import race_stages
from pipeline.search import stages as screening
from pipeline.search.candidates import Candidate
from pipeline.search.finalists import SEARCH, select_finalists
from pipeline.search.race_rows import read_race
from pipeline.search.rows import read_screen
from pipeline.search.summary import search_result

log = logging.getLogger(__name__)
FINALS = "finals"  # the stage
Show = Callable[[Expected], Progress]


@dataclass(frozen=True, kw_only=True)
class Final:
    """A candidate that is trained whole: its recipe, and the folder of the results."""

    candidate: str
    roles: tuple[str, ...]
    recipe: Recipe
    folder: Path

    @property
    def pipeline(self) -> Pipeline:
        """All stages of the recipe."""
        return stages.pipeline(self.recipe, self.folder)

    @property
    def trained(self) -> Pipeline:
        """The stages that train it, with and without a teacher."""
        return self.pipeline.until("student", "baseline")

    @property
    def measurable(self) -> Pipeline:
        """The stages that the bench of the chosen student needs."""
        needed = self.pipeline.until("baseline", finals_folder.BUNDLE).stages
        return Pipeline((*needed, to_export.scores(self.recipe)), self.folder)


def folder_of(recipe: Recipe, runs: Path) -> Path:
    """Return the folder of the search in the folder of all results."""
    return runs / f"{recipe.name}.{SEARCH}"


def select(recipe: Recipe, runs: Path) -> tuple[Final, ...]:
    """Return the finalists of a race that has ended."""
    from pipeline.search.objective import fit_training  # torch takes seconds

    race, found = read_race(folder_of(recipe, runs) / race_stages.RESULT), race_stages.candidates_of(recipe)
    finals = []
    for candidate, roles in select_finalists(race).items():
        name, model = f"{recipe.name}.{roles[0]}", found[candidate].model
        own = dataclasses.replace(
            recipe,
            name=name,
            student=Trained(model=model, training=fit_training(recipe.student.training, model)),
            baseline=fit_training(recipe.baseline, model),
        )
        finals.append(Final(candidate=candidate, roles=roles, recipe=own, folder=runs / name))
    return tuple(finals)


def run(
    recipe: Recipe, runs: Path, device_list: DeviceList | None, show: Show, *, exported: bool
) -> tuple[Recipe, Path]:
    """Search, train the finalists, and choose one.

    Args:
        recipe: A recipe with a search.
        runs: The folder of all results.
        device_list: The devices that the search may name.
        show: Makes the progress of a stage.
        exported: Whether to export the other finalists, so that the chosen one can be measured beside them.

    Returns:
        The recipe with the chosen student, and the folder of the finals, which the bench reads.
    """
    folder = folder_of(recipe, runs)
    race_stages.pipeline(recipe, folder, device_list=device_list).run(show)
    finals = select(recipe, runs)
    for final in finals:
        log.info("finals: %s, %s", " and ".join(final.roles), final.candidate)
        _continue_race(recipe, final, folder)
        final.trained.run(show)
    decision(recipe, runs, finals, device_list).run(show)
    chosen = read_chosen(folder / FINALS)
    log.info("finals: the student of %s is %s", recipe.name, chosen)
    for final in finals:
        if exported and final.candidate != chosen:
            log.info("finals: export of %s, %s", " and ".join(final.roles), final.candidate)
            final.measurable.run(show)
    return _with(recipe, finals, chosen), folder / FINALS


def _continue_race(recipe: Recipe, final: Final, search: Path) -> None:
    """Begin the stage student of a finalist with what the race has trained, unless it has begun."""
    from pipeline.search.trainings import continue_in

    (stage,) = (stage for stage in final.trained.stages if stage.name == STUDENT)
    identity = Pipeline((), search).identity(stage)  # the search has all that it reads
    done, partial = result.read(final.folder / stage.name), final.folder / f"{stage.name}.partial"
    if partial.exists() or (done and done.identity == identity):
        return
    raced = Candidate(name=final.candidate, model=final.recipe.student.model)
    folders = race_stages.training_folders(recipe, {final.candidate: raced}, search)
    result.begin(partial, identity)
    continue_in(partial, folders[final.candidate], recipe.student.training)


def decision(recipe: Recipe, runs: Path, finals: Sequence[Final], device_list: DeviceList | None) -> Pipeline:
    """The stages of the search until the one that chooses from the finalists."""
    race = race_stages.pipeline(recipe, folder_of(recipe, runs), device_list=device_list)
    stage = Stage(
        name=FINALS,
        run=partial(_choose, recipe, finals),
        reads=("data", screening.RESULT, race_stages.RESULT),
        config={final.candidate: final.roles for final in finals},
        version=2,  # of equally fast ones the one with the highest mAP
        packages=("torch", "timm", "numpy"),
        outside=lambda: {final.candidate: _content(final.folder / "student") for final in finals},
        work=Work(unit_s=15.0, bytes=10_000),
    )
    return Pipeline((*race.stages, stage), race.folder).until(FINALS)


def known_pipelines(recipe: Recipe, runs: Path, device_list: DeviceList | None) -> Iterator[Pipeline]:
    """Return the pipelines of a search that are known: those of the finals once the race holds.

    The last is that of the recipe with the chosen student, if it is known.
    """
    searching = race_stages.pipeline(recipe, folder_of(recipe, runs), device_list=device_list)
    yield searching
    if any(step.runs for step in searching.plan()):
        return
    finals = select(recipe, runs)
    yield from (final.trained for final in finals)
    choosing = decision(recipe, runs, finals, device_list)
    yield choosing
    if any(step.runs for step in choosing.plan()):
        return
    chosen = read_chosen(choosing.folder / FINALS)
    yield from (final.measurable for final in finals if final.candidate != chosen)
    yield stages.pipeline(_with(recipe, finals, chosen), runs / recipe.name, finals=choosing.folder / FINALS)


def with_student(recipe: Recipe, runs: Path, device_list: DeviceList | None, student: str) -> Recipe:
    """Return the recipe of a finalist, by its role or the name of the candidate.

    Raises:
        ValueError: There is no such finalist, or no search of this recipe has ended.
    """
    if recipe.search is None:
        raise ValueError(f"student: expected a recipe with a search, got {recipe.name}, which has none; leave it out")
    steps = race_stages.pipeline(recipe, folder_of(recipe, runs), device_list=device_list).plan()
    waiting = next((step for step in steps if step.runs), None)
    if waiting is not None:
        raise ValueError(
            f"student: expected a search of {recipe.name} that has ended, got one whose stage {waiting.stage} has to "
            f"run ({waiting.why}); run search first"
        )
    finals = select(recipe, runs)
    for final in finals:
        if student in (*final.roles, final.candidate):
            return final.recipe
    known = ", ".join(f"{' and '.join(final.roles)} ({final.candidate})" for final in finals)
    raise ValueError(f"student: expected a finalist, {known}, got {student!r}; name one of these")


def _with(recipe: Recipe, finals: Sequence[Final], chosen: str) -> Recipe:
    (own,) = (final.recipe for final in finals if final.candidate == chosen)
    return dataclasses.replace(recipe, student=own.student, baseline=own.baseline)


def read_chosen(finals: Path) -> str:
    """Return the candidate that was chosen, from the folder of the stage."""
    search = parse(SearchResult, result.read_json(finals / finals_folder.RESULT))
    return next(student.candidate for student in search.students if student.model == STUDENT)


def _content(folder: Path) -> str | None:
    found = result.read(folder)
    return found.content if found else None


def _choose(recipe: Recipe, finals: Sequence[Final], context: Context) -> None:
    """Write the finalists, first the chosen one."""
    from mlkd.data.prepared import read_split
    from mlkd.training import evaluate
    from pipeline.search.promotion import Result, Truth, fastest_as_good

    split, screen = read_split(context.inputs["data"], "select"), read_screen(context.inputs[screening.RESULT])
    latency = {verdict.candidate: verdict.latency for verdict in screen.verdicts}
    results = [
        Result(
            candidate=final.candidate,
            latency=latency[final.candidate],
            scores=evaluate.score_folder(final.folder / "student", split),
        )
        for final in finals
    ]
    truth = Truth(targets=split.targets, groups=split.clusters, label_mask=split.label_mask)
    chosen = fastest_as_good(results, truth)
    roles = {final.candidate: final.roles for final in finals}
    race = read_race(context.inputs[race_stages.RESULT])
    search = search_result(
        race_stages.search_of(recipe), screen, race, race_stages.candidates_of(recipe), roles, chosen
    )
    result.write_json(context.out / finals_folder.RESULT, to_json(search))
    folders = {final.roles[0]: final.folder.name for final in finals if final.candidate != chosen}
    result.write_json(context.out / finals_folder.FOLDERS, folders)
