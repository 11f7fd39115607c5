"""`tagger.pyz tag`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.device.command import OK, SOME_FAILED, command, count, fail, one_line, rebuild_option

if TYPE_CHECKING:  # the real imports wait until a command needs them, so that --help is quick
    from export.tagger import Tag, Tagger


def add(commands: Any) -> None:
    """The command tag."""
    parser = command(commands, "tag", tag)
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--engine", metavar="NAME", help="instead of the fastest that runs here")
    parser.add_argument("--threshold", type=float, help="for all labels, instead of the engine's own")
    parser.add_argument("--top-k", type=count, metavar="N", help="at most N labels a picture")
    rebuild_option(parser)


def tag(options: argparse.Namespace) -> int:
    """Print the labels of each picture; one that cannot be read is reported and the others go on."""
    from mlkd.images import UnreadablePicture

    failed = 0
    with _load(options) as tagger:
        for picture in options.pictures:
            try:
                tags = tagger.tag(picture, threshold=options.threshold, top_k=options.top_k)
            except UnreadablePicture as cause:
                failed += 1
                fail(cause)
                if options.json:
                    print(json.dumps({"picture": str(picture), "error": one_line(cause)}, ensure_ascii=False))
            else:
                print(_as_json(picture, tags) if options.json else _as_text(picture, tags))
    if failed:
        print(f"{failed} of {len(options.pictures)} pictures failed", file=sys.stderr)
    return SOME_FAILED if failed else OK


def _load(options: argparse.Namespace) -> Tagger:
    from benchmarks import machine
    from export.tagger import Tagger

    tagger = Tagger.load(options.bundle, options.engine, machine=machine.identity(), rebuild=options.rebuild)
    entry = tagger.choice.entry
    if options.verbose:
        ran, built = tagger.session.ran, f"; built on this device: {tagger.rebuilt}" if tagger.rebuilt else ""
        print(f"engine {entry.name}: {tagger.choice.why}; {ran.provider}, {ran.compute}{built}", file=sys.stderr)
    tuned_on = entry.thresholds_from if entry.thresholds_from != entry.name else "the bundle's own file"
    if options.threshold is None and (tagger.rebuilt or entry.thresholds_from != entry.name):
        print(f"engine {entry.name}: thresholds were tuned on {tuned_on}", file=sys.stderr)
    return tagger


def _as_json(picture: Path, tags: Sequence[Tag]) -> str:
    listed = [{"label": tag.label, "score": round(tag.score, 6)} for tag in tags]
    return json.dumps({"picture": str(picture), "tags": listed}, ensure_ascii=False)


def _as_text(picture: Path, tags: Sequence[Tag]) -> str:
    return f"{picture}: " + (", ".join(f"{tag.label} {tag.score:.2f}" for tag in tags) or "nothing above its threshold")
