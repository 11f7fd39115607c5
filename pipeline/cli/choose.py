"""choose: which engine to deploy within limits, from the report of a recipe."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from pipeline.cli.options import DIST, RUNS, Commands, add_command, add_recipe_argument
from pipeline.recipe.find import find_recipe
from pipeline.runner.result import read_json

REPORT = "report.json"


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command choose."""
    parser = add_command(commands, "choose", run)
    add_recipe_argument(parser)
    parser.add_argument("--device", metavar="NAME", help="default: the machine that ran the bench")
    parser.add_argument("--max-p90-ms", type=float, metavar="MS", help="end to end")
    parser.add_argument("--min-map", type=float, metavar="MAP", help="0 to 100")
    parser.add_argument("--max-mb", type=float, metavar="MB", help="of the engine's files")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> None:
    """Say which engine to deploy within limits, why, and the runner-up."""
    limits = {name: getattr(options, name) for name in ("max_p90_ms", "min_map", "max_mb")}
    choose(options.recipe, RUNS, DIST, device=options.device, as_json=options.json, **limits)


def choose(
    recipe: str,
    runs: Path,
    dist: Path,
    *,
    device: str | None = None,
    max_p90_ms: float | None = None,
    min_map: float | None = None,
    max_mb: float | None = None,
    as_json: bool = False,
) -> None:
    """Print the engine, why, and the runner-up; without `device` for the machine that ran the bench.

    Raises ValueError if nothing was measured or nothing fits.
    """
    from benchmarks.report.figures import points
    from benchmarks.report.problems import of_distillation
    from benchmarks.report.recommendation import choose as choose_engine

    file = _report(recipe, runs, dist)
    facts = read_json(file)
    device = device or facts["devices"][0]["name"]
    answer = choose_engine(facts["rows"], device=device, max_p90_ms=max_p90_ms, min_map=min_map, max_mb=max_mb)
    distillation = facts.get("distillation") or {}
    wrong = [f"{problem.claim} {problem.numbers}" for problem in of_distillation(distillation)]
    if as_json:
        nets = {key: distillation.get(key) for key in ("teacher_map", "student_map", "baseline_map")}
        told = {"device": device, "report": str(file), **dataclasses.asdict(answer), **nets, "problems": wrong}
        print(json.dumps(told, indent=1))
        return
    print(f"{answer.engine} on {device}: {answer.why}")
    print(f"runner-up: {answer.runner_up or 'none'}")
    for engine, reason in answer.refused:
        print(f"  not {engine}: {reason}")
    teacher, student, baseline = (points(distillation.get(f"{net}_map")) for net in ("teacher", "student", "baseline"))
    print(f"test mAP in float: teacher {teacher}, student {student}, student without a teacher {baseline}")
    for text in wrong:
        print(f"problem: {text}")


def _report(recipe: str, runs: Path, dist: Path) -> Path:
    name = find_recipe(recipe).stem
    files = [runs / name / "report" / REPORT, dist / name / REPORT]
    for file in files:
        if file.is_file():
            return file
    raise ValueError(f"{recipe}: expected its report at {' or '.join(map(str, files))}, got none; run bench first")
