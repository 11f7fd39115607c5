"""fetch: download the images of the default recipe."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> None:
    """Fetch the images that the default recipe composes, for a machine that goes offline."""
    from pipeline.runner.progress import shown
    from pipeline.stages import data

    with shown() as progress:
        data.fetch(progress)
