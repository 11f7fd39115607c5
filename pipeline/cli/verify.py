"""verify: check the files and the signature of a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.bundle import signature
from export.bundle.bundle import read_bundle
from pipeline.cli.options import DIST
from pipeline.cli.signing import find


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--require-signature", type=Path, metavar="KEY", help="the public key that has to have signed")
    parser.add_argument("bundle", nargs="?", default="scenes", metavar="RECIPE|FOLDER", help="default: scenes")


def run(options: argparse.Namespace) -> None:
    """Check every file of a bundle, and with a key who signed it."""
    folder, key = find(options.bundle, DIST), options.require_signature
    manifest = read_bundle(folder, key=key)
    print(f"{folder}: {len(manifest.files)} files as the manifest says; {signature.state(folder, key)}")
