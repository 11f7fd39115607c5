"""fetch: download the images of the default recipe."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options."""


def run(_: argparse.Namespace) -> None:
    """Fetch the images that the default recipe composes, for a machine that goes offline."""
    from pipeline.runner.progress import shown
    from pipeline.stages import data

    with shown() as progress:
        data.fetch(progress)
