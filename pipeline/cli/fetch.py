"""fetch: download the images of the default recipe."""

from __future__ import annotations

import argparse

from pipeline.cli.options import Commands, add_command


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """The command fetch."""
    add_command(commands, "fetch", run)


def run(_: argparse.Namespace) -> None:
    """Fetch the images that the default recipe composes, for a machine that goes offline."""
    from pipeline.runner.progress import shown
    from pipeline.stages import data

    with shown() as progress:
        data.fetch(progress)
