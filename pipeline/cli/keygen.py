"""keygen: make a pair of keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.bundle import signature
from pipeline.cli.signing import KEY, write_keys


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--out", type=Path, default=KEY, metavar="FILE", help=f"default: {KEY}")


def run(options: argparse.Namespace) -> None:
    """Make a pair of keys: a private one that signs bundles, and a public one that checks them."""
    private, public = write_keys(options.out.expanduser())
    print(f"{private}: the private key; keep it for yourself, and keep a copy where no one else can read it")
    print(f"{public}: the public key, {signature.fingerprint(signature.read_key(public))}; give it to the devices")
