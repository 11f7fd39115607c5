"""choose: which engine to deploy within limits, from the report of a recipe."""

from __future__ import annotations

import argparse
import dataclasses
import json

from pipeline.cli.options import DIST, RUNS, add_recipe_argument, find_result
from pipeline.recipe.find import find_recipe
from pipeline.runner.result import read_json

REPORT = "report.json"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_argument(parser)
    parser.add_argument("--device", metavar="NAME", help="default: the machine that ran the bench")
    parser.add_argument("--max-p90-ms", type=float, metavar="MS", help="end to end")
    parser.add_argument("--min-map", type=float, metavar="MAP", help="0 to 100")
    parser.add_argument("--max-mb", type=float, metavar="MB", help="of the engine's files")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    """Say which engine to deploy within limits, why, and the runner-up."""
    from benchmarks.report.figures import points
    from benchmarks.report.problems import of_distillation
    from benchmarks.report.recommendation import choose
    from benchmarks.schema import read_report
    from benchmarks.sections import Distillation

    name = find_recipe(options.recipe).stem
    files = [RUNS / name / "report" / REPORT, DIST / name / REPORT]
    file = find_result(options.recipe, "report", files, "bench")
    report = read_report(read_json(file))
    device = options.device or report.devices[0].name
    limits = {name: getattr(options, name) for name in ("max_p90_ms", "min_map", "max_mb")}
    answer = choose(report.rows, device=device, **limits)
    wrong = [f"{problem.claim} {problem.numbers}" for problem in of_distillation(report.distillation)]
    distillation = report.distillation or Distillation()
    maps = {f"{net}_map": getattr(distillation, f"{net}_map") for net in ("teacher", "student", "baseline")}
    if options.json:
        facts = {"device": device, "report": str(file), **dataclasses.asdict(answer), **maps, "problems": wrong}
        print(json.dumps(facts, indent=1))
        return
    print(f"{answer.engine} on {device}: {answer.why}")
    print(f"runner-up: {answer.runner_up or 'none'}")
    for engine, reason in answer.refused:
        print(f"  not {engine}: {reason}")
    teacher, student, baseline = map(points, maps.values())
    print(f"test mAP in float: teacher {teacher}, student {student}, student without a teacher {baseline}")
    for text in wrong:
        print(f"problem: {text}")
