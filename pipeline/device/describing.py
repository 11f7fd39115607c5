"""`tagger.pyz info`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipeline.device.command import OK, SOME_FAILED, command, rebuild_option

if TYPE_CHECKING:
    from export.manifest import EngineEntry, Manifest


def add(commands: Any) -> None:
    """The command info."""
    parser = command(commands, "info", info)
    parser.add_argument("--engine", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    rebuild_option(parser)


def info(options: argparse.Namespace) -> int:
    """Print what the bundle holds, which of its engines open here, and which one `tag` would take."""
    from benchmarks import machine
    from export.bundle import read_bundle
    from export.tagger import NoEngineError, choose

    manifest = read_bundle(options.bundle)
    engines = [
        {
            "name": entry.name,
            "precision": entry.precision,
            "bytes": sum(manifest.files[path].bytes for path in entry.files),
            "p50_ms": entry.p50_ms,
            "thresholds_from": entry.thresholds_from,
            **_opened(options, manifest, entry),
        }
        for entry in manifest.engines
    ]
    refused = {str(engine["name"]): str(engine["lacks"]) for engine in engines if engine["lacks"]}
    try:
        choice = choose(manifest, options.engine, machine=machine.identity(), refused=refused)
        chosen: dict[str, Any] = {"engine": choice.entry.name, "why": choice.why}
    except NoEngineError as cause:
        chosen = {"engine": None, "why": str(cause)}
    facts = {name: getattr(manifest, name) for name in ("recipe", "recipe_hash", "image_px", "composed", "measured")}
    facts |= {"labels": list(manifest.labels), "engines": engines, "chosen": chosen, "machine": machine.describe()}
    print(json.dumps(facts, ensure_ascii=False) if options.json else _info_text(facts))
    return SOME_FAILED if options.rebuild and options.engine in refused else OK


def _opened(options: argparse.Namespace, manifest: Manifest, entry: EngineEntry) -> dict[str, str | None]:
    """What opening the engine showed: what it lacks, and where it lies if this device built it."""
    from export.backends import EngineRefused, MissingRuntime
    from export.tagger.choosing import backend_of
    from export.tagger.opening import open_engine

    rebuild = options.rebuild and options.engine in (None, entry.name)
    try:
        with open_engine(options.bundle, manifest, entry, backend_of(entry), rebuild=rebuild) as session:
            built_here = session.engine != options.bundle / entry.file
            return {"lacks": None, "built_here": str(session.engine) if built_here else None}
    except (EngineRefused, MissingRuntime, OSError) as cause:
        return {"lacks": str(cause), "built_here": None}


def _info_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['recipe']} ({facts['recipe_hash'][:12]}), {len(facts['labels'])} labels, {facts['image_px']} px"]
    for engine in facts["engines"]:
        state = f"runs here, built on this device: {engine['built_here']}" if engine["built_here"] else "runs here"
        state = f"cannot run here: {engine['lacks']}" if engine["lacks"] else state
        lines.append(f"  {engine['name']:24} {engine['bytes'] / 1e6:6.1f} MB  {state}")
    chosen = facts["chosen"]
    lines.append(f"engine: {chosen['engine'] or 'none'}: {chosen['why']}")
    lines.append(f"machine: {facts['machine']['cpu']}, {facts['machine']['cores']} cores, {facts['machine']['os']}")
    return "\n".join(lines)
