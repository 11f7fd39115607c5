"""`tagger.pyz install` and `tagger.pyz rollback`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK, command

if TYPE_CHECKING:
    from export.tagger.installing import Installed


def add(commands: Any) -> None:
    """Add the commands install and rollback."""
    installed = command(commands, "install", install)
    installed.add_argument("source", nargs="?", type=Path, metavar="BUNDLE", help="default: the folder of tagger.pyz")
    for parser in (installed, command(commands, "rollback", rollback)):
        parser.add_argument(
            "--to", type=Path, required=True, metavar="FOLDER", help="FOLDER/current is the version in use"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")


def install(options: argparse.Namespace) -> int:
    """Verify a bundle, copy it, self-test it on this device, and switch to it; the previous version is kept."""
    from export.tagger.installing import install

    result = install(options.source or options.bundle, options.to, key=options.require_signature)
    counts = f"{result.copied} files copied, {result.shared} shared with the previous version"
    is_new = result.version != result.was or result.copied + result.shared
    return _print(options, result, f"installed, {counts}" if is_new else "installed before, nothing copied")


def rollback(options: argparse.Namespace) -> int:
    """Switch back to the previous version; repeating the command switches forward again."""
    from export.tagger.installing import rollback

    return _print(options, rollback(options.to, key=options.require_signature), "rolled back")


def _print(options: argparse.Namespace, result: Installed, message: str) -> int:
    if options.json:
        print(json.dumps(dataclasses.asdict(result)))
    else:
        before = f" (was {result.was})" if result.was not in (None, result.version) else ""
        print(f"{options.to}/current: {result.version}{before}: {message}")
    return OK
