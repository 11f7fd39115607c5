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
    """The commands install and rollback."""
    installed = command(commands, "install", install)
    installed.add_argument("source", nargs="?", type=Path, metavar="BUNDLE", help="default: beside tagger.pyz")
    for parser in (installed, command(commands, "rollback", rollback)):
        parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="FOLDER/current is what runs")
        parser.add_argument("--json", action="store_true", help="one JSON object")


def install(options: argparse.Namespace) -> int:
    """Verify a bundle, copy it, self-test it on this device, and switch to it; the one before is kept."""
    from export.tagger.installing import install

    done = install(options.source or options.bundle, options.to, key=options.require_signature)
    known = done.version == done.was and not done.copied + done.shared
    return _say(options, done, "installed before, nothing copied" if known else f"installed, {_counts(done)}")


def rollback(options: argparse.Namespace) -> int:
    """Switch back to the version before; the same again switches forward."""
    from export.tagger.installing import rollback

    return _say(options, rollback(options.to, key=options.require_signature), "rolled back")


def _counts(done: Installed) -> str:
    return f"{done.copied} files copied, {done.shared} shared with the version before"


def _say(options: argparse.Namespace, done: Installed, said: str) -> int:
    if options.json:
        print(json.dumps(dataclasses.asdict(done)))
    else:
        before = f" (was {done.was})" if done.was not in (None, done.version) else ""
        print(f"{options.to}/current: {done.version}{before}: {said}")
    return OK
