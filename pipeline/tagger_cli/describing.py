"""`tagger.pyz info`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK, SOME_FAILED, command, one_line, rebuild_option

if TYPE_CHECKING:
    from export.bundle.manifest import EngineEntry, Manifest
    from export.tagger.engine_choice import Measured


def add(commands: Any) -> None:
    """The command info."""
    parser = command(commands, "info", info)
    parser.add_argument("--engine", metavar="NAME", help="as if `tag` were told to take it")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    rebuild_option(parser)


def info(options: argparse.Namespace) -> int:
    """Print what the bundle holds, which of its engines open here, and which one `tag` takes."""
    from benchmarks.device import machine
    from export.bundle import signature
    from export.bundle.bundle import read_bundle
    from export.errors import NoEngineError
    from export.tagger import choose

    manifest = read_bundle(options.bundle, key=options.require_signature)
    measured = _measured(options, manifest)  # before any engine is opened: it knows those that end the process
    engines = [_engine(options, manifest, entry, measured) for entry in manifest.engines]
    refused = {engine["name"]: engine["lacks"] for engine in engines if engine["lacks"]}
    try:
        choice = choose(manifest, options.engine, measured=measured, refused=refused)
        chosen: dict[str, Any] = {"engine": choice.entry.name, "why": choice.why}
    except NoEngineError as cause:
        chosen = {"engine": None, "why": str(cause)}
    facts = {name: getattr(manifest, name) for name in ("recipe", "recipe_hash", "image_px", "composed", "measured")}
    facts |= {
        "labels": list(manifest.labels),
        "signature": signature.state(options.bundle, options.require_signature),
        "thresholds": {"images": manifest.tune_images, **_aim(manifest)},
        "engines": engines,
        "engines_measured": measured.where if measured and measured.p50_ms else None,
        "chosen": chosen,
        "machine": machine.describe(),
    }
    print(json.dumps(facts) if options.json else _info_text(facts))
    return SOME_FAILED if options.rebuild and options.engine in refused else OK


def _measured(options: argparse.Namespace, manifest: Manifest) -> Measured | None:
    """How fast the engines are here, measured anew: what failed before may run now."""
    from export.tagger.fastest import measured, remembered

    if options.engine is not None:
        return remembered(options.bundle, manifest)
    try:
        return measured(options.bundle, manifest, rebuild=options.rebuild, again=True)
    except OSError:  # no room for a rebuilt engine: each says so where it is opened
        return None


def _engine(
    options: argparse.Namespace, manifest: Manifest, entry: EngineEntry, measured: Measured | None
) -> dict[str, Any]:
    rebuild = options.rebuild and options.engine in (None, entry.name)
    known = None if measured is None or rebuild else measured.lacking.get(entry.name)
    unchecked = measured is not None and not measured.checked
    return {
        "name": entry.name,
        "precision": entry.precision,
        "bytes": sum(manifest.files[path].bytes for path in entry.files),
        "p50_ms": entry.p50_ms,
        "here_ms": measured.p50_ms.get(entry.name) if measured else None,
        "thresholds_from": entry.thresholds_from,
        **({"lacks": known, "built_here": None} if known else _opened(options, manifest, entry, rebuild, unchecked)),
    }


def _opened(
    options: argparse.Namespace, manifest: Manifest, entry: EngineEntry, rebuild: bool, unchecked: bool
) -> dict[str, str | None]:
    """What opening the engine showed: what it lacks, and where it lies if this device built it."""
    from export.tagger.engine_choice import backend_of
    from export.tagger.fastest import wrong
    from export.tagger.opening import open_engine
    from export.tagger.reference import Golden

    backend = backend_of(entry)
    try:
        with open_engine(options.bundle, manifest, entry, backend, rebuild=rebuild) as session:
            built_here = session.engine != options.bundle / entry.file
            off = wrong(entry, backend, session, Golden.read(options.bundle, manifest)) if unchecked else None
            return {"lacks": off, "built_here": str(session.engine) if built_here else None}
    except Exception as cause:  # every runtime raises classes of its own
        return {"lacks": one_line(cause), "built_here": None}


def _aim(manifest: Manifest) -> dict[str, Any]:
    """What the recipe had the thresholds tuned for."""
    config = manifest.recipe_content.get("export", {}).get("thresholds", {})
    return {name: config.get(name) for name in ("aim", "precision")}


def _info_text(facts: dict[str, Any]) -> str:
    lines = [f"{facts['recipe']} ({facts['recipe_hash'][:12]}), {len(facts['labels'])} labels, {facts['image_px']} px"]
    lines.append(f"bundle: {facts['signature']}")
    tuned = facts["thresholds"]
    aims = {"f1": "for the highest F1", "precision": f"for a precision of at least {tuned['precision']}"}
    lines.append(f"thresholds: tuned {aims.get(tuned['aim'], '')} on {tuned['images']} images".replace("  ", " "))
    first: dict[str, str] = {}  # engine by reason: each is said once
    for engine in facts["engines"]:
        lacks = engine["lacks"]
        like = first.setdefault(lacks, engine["name"])
        state = f"runs here, built on this device: {engine['built_here']}" if engine["built_here"] else "runs here"
        state = f"cannot run here: {lacks if like == engine['name'] else f'see {like}'}" if lacks else state
        here = f"{engine['here_ms']:8.2f} ms" if engine["here_ms"] is not None else f"{'':11}"
        lines.append(f"  {engine['name']:24} {engine['bytes'] / 1e6:6.1f} MB {here}  {state}")
    chosen = facts["chosen"]
    lines.append(f"engine: {chosen['engine']}: {chosen['why']}" if chosen["engine"] else "engine: none can run here")
    lines.append(f"machine: {facts['machine']['cpu']}, {facts['machine']['cores']} cores, {facts['machine']['os']}")
    return "\n".join(lines)
