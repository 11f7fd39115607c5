"""distill, export, bench and report: run the stages that the command needs and has not finished."""

from __future__ import annotations

import argparse

from pipeline.cli.options import DIST, Commands, add_command, add_recipe_options, pipeline_of, read_recipe
from pipeline.runner import ranks

COMMANDS = {  # command -> its last stages, help
    "distill": (("student", "baseline"), "train teacher, student and baseline"),
    "export": (("references",), "export and quantize the student, and write the bundle"),
    "bench": (("report",), "measure the bundle and report"),
    "report": (("report",), "write the report again from what was measured"),
}


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The commands that run stages."""
    for name, (_, text) in COMMANDS.items():
        parser = add_command(commands, name, run)
        parser.description = text
        commands._choices_actions[-1].help = text
        add_recipe_options(parser)


def run(options: argparse.Namespace) -> None:
    """Run what the command needs and has not finished."""
    from pipeline import stages, teachers
    from pipeline.runner.progress import shown

    recipe = read_recipe(options)
    pipeline = pipeline_of(recipe, options).until(*COMMANDS[options.command][0])
    if not ranks.is_first():
        pipeline.run()
        return
    with shown() as progress:
        stages.fetch_if_needed(recipe, pipeline, progress)
        pipeline.run(progress)
        teachers.tell(teachers.select_maps(recipe, pipeline.folder))
        if options.command != "distill":
            stages.publish(pipeline.folder, DIST / recipe.name)
