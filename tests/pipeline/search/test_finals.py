"""The finals: which stages run, who is chosen, and what the bench measures; trainings are short notes here."""

import dataclasses
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import Truth
from benchmarks.parsing import parse
from benchmarks.schema import Percentiles
from benchmarks.sections import Distillation, SearchResult
from mlkd.core.metrics import mean_average_precision
from mlkd.core.progress import silent
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.training import evaluate
from pipeline import finals_folder
from pipeline.recipe.schema import Recipe
from pipeline.references import other_finalists, scores
from pipeline.runner import result
from pipeline.runner.stage import Context, Pipeline, Stage
from pipeline.search import finals, race_stages
from pipeline.search.race_rows import RACE, Race, RaceRow, SelectMap
from pipeline.search.rows import SCREEN, Row, Screen, judge
from tests.pipeline.search.conftest import Read

NAMES = {px: f"test_resnet-{px}px-pooled" for px in (32, 40, 48)}
STUDENT_STAGES = ("student", "baseline", "bundle")


class Finals:
    """A recipe with a search whose race has ended; 40 px tag best, and 32 px nothing."""

    def __init__(self, read: Read, place: Path) -> None:
        students = "{image_px: [32, 40, 48], head: {kind: pooled}}"
        self.recipe = read(f"max_p90_ms: 9, students: {students}")
        self.runs, self.ran, self.continued = place / "runs", list[str](), dict[tuple[str, str], bool]()

    def race(self, recipe: Recipe, folder: Path, force: Collection[str] = (), device_list: Any = None) -> Pipeline:
        timed = [Row(candidate=NAMES[px], device="here", end_to_end_ms=Percentiles(p90=px / 8)) for px in NAMES]
        assert recipe.search is not None
        verdicts = [judge(row.candidate, [row], recipe.search) for row in timed]
        rows = [
            RaceRow(
                candidate=NAMES[px], p90_ms=px / 8, rung=1, epochs=1, select_map=SelectMap(value=value, low=0, high=1)
            )
            for px, value in zip(NAMES, (0.2, 0.5, 0.6), strict=True)
        ]
        return Pipeline(
            (
                Stage(name="data", run=self.link_data),
                Stage(name="screen", run=self.write(SCREEN, Screen(rows=timed, verdicts=verdicts))),
                Stage(name="race", run=self.write(RACE, Race(rows=rows, ranking=list(NAMES.values())))),
            ),
            folder,
        )

    def link_data(self, context: Context) -> None:
        for file in (self.runs / "tiny/data").iterdir():
            if file.name != result.FINISHED:
                (context.out / file.name).symlink_to(file)

    def write(self, name: str, value: Any) -> Callable[[Context], None]:
        return lambda context: result.write_json(context.out / name, dataclasses.asdict(value))

    def student(self, recipe: Recipe, folder: Path, **_: Any) -> Pipeline:
        """The stages of one recipe; each writes the size of the student."""

        def stage(name: str) -> Stage:
            def run(context: Context) -> None:
                self.ran.append(f"{folder.name} {name}")
                self.continued[folder.name, name] = (context.out / checkpoint.LAST).is_file()
                (context.out / "px").write_text(str(recipe.student.model.image_px))

            return Stage(name=name, run=run, config=recipe.student.model.image_px)

        return Pipeline(tuple(map(stage, STUDENT_STAGES)), folder)

    def trainings(self, recipe: Recipe, found: Collection[str], folder: Path) -> dict[str, Path]:
        """Of the race; that of 40 px has no checkpoints."""
        folders = {name: folder / "race.work" / name for name in found}
        for name, made in folders.items():
            made.mkdir(parents=True, exist_ok=True)
            if name != NAMES[40]:
                (made / "history.json").write_text("[]")
                checkpoint.write(made / checkpoint.LAST, {}, {"best_epoch": 1})
                checkpoint.write(made / checkpoint.BEST, {}, {})
        return folders

    def scores(self, recipe: Recipe) -> Stage:
        def run(context: Context) -> None:
            self.ran.append(f"{context.out.parent.name} scores")

        return Stage(name="scores", run=run, config=recipe.name)

    def score_folder(self, folder: Path, split: Any) -> Any:
        """40 and 48 px rank alike, 32 px the other way round."""
        targets = split.targets.astype(np.float32)
        return 1 - targets if (folder / "px").read_text() == "32" else targets

    def run(self, *, exported: bool = True) -> tuple[Recipe, Path]:
        self.ran.clear()
        return finals.run(self.recipe, self.runs, None, lambda _: silent, exported=exported)


@pytest.fixture
def made(read: Read, place: Path, monkeypatch: pytest.MonkeyPatch) -> Finals:
    made = Finals(read, place)
    monkeypatch.setattr(race_stages, "pipeline", made.race)
    monkeypatch.setattr(race_stages, "training_folders", made.trainings)
    monkeypatch.setattr(finals.stages, "pipeline", made.student)
    monkeypatch.setattr(finals.to_export, "scores", made.scores)
    monkeypatch.setattr(evaluate, "score_folder", made.score_folder)
    return made


def test_three_are_trained_and_the_fastest_of_the_best_is_the_student(made: Finals) -> None:
    recipe, folder = made.run(exported=False)
    assert (recipe.name, recipe.student.model.image_px) == ("tiny", 40), "not worse than 48 px, and faster"
    trained = [f"tiny.{role} {stage}" for role in ("best", "knee", "fastest") for stage in ("student", "baseline")]
    assert made.ran == trained
    search = parse(SearchResult, result.read_json(folder / "finals.json"))
    assert [(one.model, one.candidate, one.roles) for one in search.students] == [
        ("student", NAMES[40], ["knee"]),
        ("best", NAMES[48], ["best"]),
        ("fastest", NAMES[32], ["fastest"]),
    ]
    assert len(search.screen) == 3
    made.run()
    assert made.ran == [f"tiny.{role} {stage}" for role in ("best", "fastest") for stage in ("bundle", "scores")]
    assert [bundle.model for bundle in other_finalists.bundles(None)] == []


def test_students_continue_the_trainings_of_the_race_and_baselines_begin(made: Finals) -> None:
    made.run(exported=False)
    continued = {name for name, has_checkpoint in made.continued.items() if has_checkpoint}
    assert continued == {("tiny.best", "student"), ("tiny.fastest", "student")}
    student = made.runs / "tiny.best/student"
    before = result.read(student)
    made.run(exported=False)
    assert result.read(student) == before, "it is trained already"
    assert not student.with_name("student.partial").exists()


def test_plan_knows_the_finals_once_the_race_has_ended(made: Finals) -> None:
    def planned() -> list[tuple[str, list[str]]]:
        found = finals.known_pipelines(made.recipe, made.runs, None)
        return [(one.folder.name, [step.stage for step in one.plan() if step.runs]) for one in found]

    assert planned() == [("tiny.search", ["data", "screen", "race"])]
    made.race(made.recipe, made.runs / "tiny.search").run()
    training = ["student", "baseline"]
    assert planned() == [
        ("tiny.search", []),
        *((f"tiny.{role}", training) for role in ("best", "knee", "fastest")),
        ("tiny.search", ["finals"]),
    ]
    made.run(exported=False)
    assert planned() == [
        ("tiny.search", []),
        *((f"tiny.{role}", []) for role in ("best", "knee", "fastest")),
        ("tiny.search", []),
        *((f"tiny.{role}", ["bundle", "scores"]) for role in ("best", "fastest")),
        ("tiny", ["bundle"]),  # trained in tiny.knee
    ]


def test_another_finalist_by_name(made: Finals) -> None:
    without = dataclasses.replace(made.recipe, search=None)
    with pytest.raises(
        ValueError, match="student: expected a recipe with a search, got tiny, which has none; leave it"
    ):
        finals.with_student(without, made.runs, None, "fastest")
    with pytest.raises(
        ValueError, match=r"of tiny that has ended, got one whose stage data has to run \(no result yet\)"
    ):
        finals.with_student(made.recipe, made.runs, None, "fastest")
    made.run(exported=False)
    for name in ("fastest", NAMES[32]):
        recipe = finals.with_student(made.recipe, made.runs, None, name)
        assert (recipe.name, recipe.student.model.image_px) == ("tiny.fastest", 32)
    with pytest.raises(
        ValueError, match=r"student: expected a finalist, best \(.*\), knee \(.*\), fastest \(.*got 'large'"
    ):
        finals.with_student(made.recipe, made.runs, None, "large")


def test_another_training_of_a_finalist_is_chosen_from_and_measured_again(made: Finals) -> None:
    _, folder = made.run()
    before = finals_folder.contents(folder)
    assert before["finals"].keys() == {"finals", "best bundle", "best scores", "fastest bundle", "fastest scores"}
    assert all(before["finals"].values())
    assert finals_folder.contents(folder) == before
    made.student(finals.with_student(made.recipe, made.runs, None, "knee"), made.runs / "tiny.fastest").until(
        "bundle"
    ).run()
    after = finals_folder.contents(folder)
    assert [name for name in before["finals"] if before["finals"][name] != after["finals"][name]] == ["fastest bundle"]


def test_the_map_of_every_finalist_is_measured_on_test(made: Finals) -> None:
    _, folder = made.run()
    split = read_split(made.runs / "tiny/data", "test")
    rng = np.random.default_rng(0)
    drawn = {model: rng.random(split.targets.shape).astype(np.float32) for model in ("student", "baseline")}
    for name in ("best", "fastest"):
        at = made.runs / f"tiny.{name}/scores" / scores.FOLDER
        at.mkdir()
        for model, values in drawn.items():
            np.save(at / f"{model}.npy", values)
            np.save(at / f"{model}.thresholds.npy", values[0])
    truth = Truth(files=split.files, targets=split.targets, groups=split.clusters)
    chosen = Distillation(student_map=0.5, baseline_map=0.4, difference=0.1, low=0.05, high=0.15)
    search = other_finalists.measured(folder, chosen, truth)
    maps = {model: mean_average_precision(values, split.targets) for model, values in drawn.items()}
    student, best, fastest = search.students
    assert (student.student_map, student.baseline_map, student.low) == (0.5, 0.4, 0.05)
    for one in (best, fastest):
        assert (one.student_map, one.baseline_map) == (maps["student"], maps["baseline"])
        assert one.difference == pytest.approx(maps["student"] - maps["baseline"])
        assert one.low is not None
        assert one.low < one.difference
    first, _ = other_finalists.bundles(folder)
    assert (first.folder, first.model, first.kind) == (made.runs / "tiny.best/bundle/bundle", "best", "engine")
    assert first.reference is not None
    assert np.array_equal(first.reference.scores, drawn["student"])
