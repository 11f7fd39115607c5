"""plan: what would run, why and for how long, and what teacher and student cost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.options import RUNS, add_recipe_options, add_student_option, devices_of, pipeline_of, read_recipe
from pipeline.runner.decision import Decision
from pipeline.runner.units import duration, size

if TYPE_CHECKING:
    from pipeline.recipe.schema import Recipe


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_recipe_options(parser)
    add_student_option(parser)


def run(options: argparse.Namespace) -> None:
    """Say what would run, why, for about how long, and what teacher and student cost."""
    from pipeline.cli import costs

    recipe = read_recipe(options)
    if options.student:
        from pipeline.search.finals import with_student

        recipe = with_student(recipe, RUNS, devices_of(options), options.student)
    elif recipe.search is not None:
        print_search(recipe, options)
        return
    pipeline = pipeline_of(recipe, options)
    decisions = pipeline.plan()
    data = decisions[0]
    texts = list(costs.lines(recipe, None if data.runs else (data.reused or pipeline.folder) / data.stage))
    counted = pipeline_of(recipe, options)
    if [stage.work for stage in counted.stages] != [stage.work for stage in pipeline.stages]:
        decisions = counted.plan()  # with the sizes of models that were not known before
    print("\n".join([*format_decisions(decisions), *texts]))
    print(format_total(decisions))


def print_search(recipe: Recipe, options: argparse.Namespace) -> None:
    """Print what is known of a recipe with a search: its finals only once the race has ended."""
    from pipeline.search.finals import known_pipelines
    from pipeline.search.race_stages import RESULT, describe_trained

    planned: dict[tuple[Path, str], Decision] = {}
    for pipeline in known_pipelines(recipe, RUNS, devices_of(options)):
        steps = pipeline.plan()
        new = {(pipeline.folder, step.stage): step for step in steps}
        shown = [step for key, step in new.items() if key not in planned]
        print("\n".join([f"{pipeline.folder}:", *format_decisions(shown)]))
        if pipeline.stages[-1].name == RESULT and (text := describe_trained(recipe, pipeline, steps)):
            print(f"  {text}")
        planned |= new
    print(
        format_total(list(planned.values()))
        + ("" if pipeline.folder.name == recipe.name else "; then the finals follow")
    )


def format_decisions(decisions: Sequence[Decision]) -> list[str]:
    """Return a line for each stage."""
    return [_format_decision(decision) for decision in decisions]


def format_total(decisions: Sequence[Decision]) -> str:
    """Say how long all stages that run take, as far as it is known."""
    waiting = [decision for decision in decisions if decision.runs or decision.reused]
    estimated = [decision for decision in waiting if decision.seconds is not None]
    unknown = [decision.stage for decision in waiting if decision.seconds is None]
    totals = []
    if estimated:
        seconds, volume = (sum(getattr(one, name) or 0 for one in estimated) for name in ("seconds", "bytes"))
        totals = [f"about {duration(seconds)}, {size(volume)}"]
    if unknown:
        totals += [f"no estimate for {', '.join(unknown)}"]
    return "; ".join(totals) or "nothing to do"


def _format_decision(decision: Decision) -> str:
    if decision.reused:
        return f"  reuse {decision.stage:16} {decision.why}; from {decision.reused} (about {duration(0)})"
    if not decision.runs:
        return f"  skip  {decision.stage:16} {decision.why}"
    about = [duration(decision.seconds)] if decision.seconds is not None else []
    about += [size(decision.bytes)] if decision.bytes is not None else []
    return f"  run   {decision.stage:16} {decision.why}" + (f" (about {', '.join(about)})" if about else "")
