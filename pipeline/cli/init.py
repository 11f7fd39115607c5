"""init: look at a folder of images and write a recipe for it, or continue a finished recipe with corrected labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.init.options import add_options, read_options

FOR_CORRECTIONS = ("root", "skip_bad_rows")  # options that hold for tables of corrections too


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    text = "images, and a table that says their tags; with --from the recipe to write"
    parser.add_argument("folder", type=Path, metavar="FOLDER", help=text)
    parser.add_argument("--from", dest="finished", metavar="NAME|FILE", help="continue this finished recipe")
    text = "table of `tagger.pyz tag --csv` with verdicts, for --from; may be repeated, the last one wins"
    parser.add_argument("--corrections", type=Path, action="append", default=[], metavar="FILE", help=text)
    text = "label that the finished recipe does not have, for --from; may be repeated"
    parser.add_argument("--new-label", "--new-labels", dest="new_labels", action="append", default=[], help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the recipe to write; default: FOLDER's name.yaml")
    parser.add_argument("--force", action="store_true", help="replace a recipe that this command wrote")
    parser.add_argument("--look", action="store_true", help="print everything and write nothing")
    add_options(parser)


def run(options: argparse.Namespace) -> None:
    """Look at a folder of your images, say what is understood, and write a recipe for it."""
    given = read_options(options)
    if options.finished is None:
        if options.corrections or options.new_labels:
            raise ValueError("corrections: expected --from with the finished recipe, got none; pass --from NAME")
        from pipeline.init.draft import init

        init(options.folder, given, options.out, force=options.force, look=options.look)
        return
    from pipeline.init.correcting import Request, correct

    others = [f"--{name.replace('_', '-')}" for name in given if name not in FOR_CORRECTIONS]
    others += ["--out"] if options.out else []
    if others:
        raise ValueError(f"from: expected only the recipe to write and options of corrections, got {', '.join(others)}")
    request = Request(
        recipe=options.finished, tables=tuple(options.corrections), new_labels=tuple(options.new_labels), **given
    )
    correct(request, options.folder, force=options.force, look=options.look)
