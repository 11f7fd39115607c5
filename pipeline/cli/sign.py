"""sign: sign a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli.options import DIST
from pipeline.cli.signing import KEY, find, write_signature


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--key", type=Path, default=KEY, metavar="FILE", help=f"private; default: {KEY}")
    parser.add_argument("bundle", nargs="?", default="scenes", metavar="RECIPE|FOLDER", help="default: scenes")


def run(options: argparse.Namespace) -> None:
    """Sign a bundle that was exported; its manifest, and through it every file."""
    folder = find(options.bundle, DIST)
    print(f"{folder}: signed by {write_signature(folder, options.key.expanduser())}")
