"""choose: which student and engine to deploy within limits, from the report of a recipe."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.options import DIST, RUNS, add_recipe_argument, add_student_option, find_result
from pipeline.recipe.find import find_recipe
from pipeline.runner.result import read_json

if TYPE_CHECKING:
    from benchmarks.report.recommendation import Answer
    from benchmarks.sections import Distillation, SearchStudent

REPORT = "report.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_argument(parser)
    add_student_option(parser)
    parser.add_argument("--device", metavar="NAME", help="default: the machine that ran the bench")
    parser.add_argument("--max-p90-ms", type=float, metavar="MS", help="end to end")
    parser.add_argument("--min-map", type=float, metavar="MAP", help="0 to 100")
    parser.add_argument("--max-mb", type=float, metavar="MB", help="of the engine's files")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    """Say which student and engine to deploy within limits, why, and the runner-up."""
    from benchmarks.report.problems import better_student, of_distillation, over_budget, wrong_engines
    from benchmarks.report.recommendation import budget_of, choose
    from benchmarks.report.rows import place
    from benchmarks.schema import STUDENT, read_report
    from benchmarks.sections import Distillation

    name = find_recipe(options.recipe).stem
    files = [RUNS / name / "report" / REPORT, DIST / name / REPORT]
    file = find_result(options.recipe, "report", files, "bench")
    report = read_report(read_json(file))
    device = options.device or report.devices[0].name
    limits = {name: getattr(options, name) for name in ("max_p90_ms", "min_map", "max_mb")}
    students = report.search.students if report.search else []
    model = _model_of(options.student, students) if options.student else None
    answer = choose(report.rows, device=device, budget=budget_of(report.search), model=model, **limits)
    candidate = next((one.candidate for one in students if one.model == answer.student), None)
    own = [row for row in place(report.rows) if row.device == device]
    chosen = next((row for row in own if row.name == answer.engine), None)
    distillation = _distillation_of(answer.student, report.distillation or Distillation(), students)
    of_bundle = answer.student == STUDENT and not any(limits.values())
    problems = [
        *([over_budget(own, report.search), better_student(own, chosen)] if of_bundle else []),
        wrong_engines(own),
        *of_distillation(distillation),
    ]
    wrong = [f"{problem.claim} {problem.numbers}" for problem in problems if problem]
    maps = {f"{net}_map": getattr(distillation, f"{net}_map") for net in ("teacher", "student", "baseline")}
    if options.json:
        facts = {"device": device, "report": str(file), **dataclasses.asdict(answer), "candidate": candidate}
        print(json.dumps({**facts, **maps, "problems": wrong}, indent=1))
        return
    print(f"{answer.engine} on {device}: {answer.why}")
    if candidate is not None:
        print(f"student: {_student(answer.student, candidate, options.recipe)}")
    _print_rest(answer, maps, wrong)


def _model_of(student: str, students: Sequence[SearchStudent]) -> str:
    """The model of a finalist in the rows.  Raises ValueError if there is none of this role or candidate."""
    for one in students:
        if student in (*one.roles, one.candidate, one.model):
            return one.model
    known = ", ".join(f"{' and '.join(one.roles)} ({one.candidate})" for one in students)
    raise ValueError(f"student: expected a finalist, {known or 'of which there are none'}, got {student!r}; name one")


def _distillation_of(model: str, bundled: Distillation, students: Sequence[SearchStudent]) -> Distillation:
    """What a student gained from the teacher; only that of the bundle was compared with the teacher itself."""
    from benchmarks.schema import STUDENT
    from benchmarks.sections import Distillation

    other = next((one for one in students if one.model == model), None)
    if model == STUDENT or other is None:
        return bundled
    return Distillation(
        teacher_map=bundled.teacher_map,
        student_map=other.student_map,
        baseline_map=other.baseline_map,
        difference=other.difference,
        low=other.low,
        high=other.high,
    )


def _student(model: str, candidate: str, recipe: str) -> str:
    """Name the candidate of a search, and how to get it if it is not in the bundle; roles change with the search."""
    from benchmarks.schema import STUDENT

    if model == STUDENT:
        return f"{candidate}, in the bundle"
    return f"{model}, {candidate}: `make export RECIPE={recipe} STUDENT={candidate}` publishes it"


def _print_rest(answer: Answer, maps: Mapping[str, float | None], wrong: Sequence[str]) -> None:
    """Print the runner-up, the other engines with their reasons, mAP in float and problems."""
    from benchmarks.report.figures import points

    print(f"runner-up: {answer.runner_up or 'none'}")
    for engine, reason in answer.refused:
        print(f"  not {engine}: {reason}")
    teacher, student, baseline = map(points, maps.values())
    print(f"test mAP in float: teacher {teacher}, student {student}, student without a teacher {baseline}")
    for text in wrong:
        print(f"problem: {text}")
