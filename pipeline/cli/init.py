"""init: look at a folder of images and write a recipe for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.init.options import add_options, read_options


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images, and a table that says their tags")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the recipe to write; default: FOLDER's name.yaml")
    parser.add_argument("--force", action="store_true", help="replace a recipe that this command wrote")
    parser.add_argument("--look", action="store_true", help="print everything and write nothing")
    add_options(parser)


def run(options: argparse.Namespace) -> None:
    """Look at a folder of your images, say what is understood, and write a recipe for it."""
    from pipeline.init.draft import init

    init(options.folder, read_options(options), options.out, force=options.force, look=options.look)
