"""`tagger.pyz info`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlkd.core.printable import printable_lines
from pipeline.tagger_cli.command import OK, SOME_FAILED, command, one_line, rebuild_option

if TYPE_CHECKING:
    from export.bundle.manifest import EngineEntry, Manifest
    from export.tagger.engine_choice import EngineTimes


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """One engine of the bundle on this machine; the fields are keys of `info --json`."""

    name: str
    precision: str
    bytes: int
    p50_ms: float | None  # in the bundle
    here_ms: float | None  # on this machine
    thresholds_from: str
    lacks: str | None  # why it cannot run here
    built_here: str | None  # its file, if this device built it


def add(commands: Any) -> None:
    """Add the command info."""
    parser = command(commands, "info", info)
    parser.add_argument("--engine", metavar="NAME", help="as with `tag --engine`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    rebuild_option(parser)


def info(options: argparse.Namespace) -> int:
    """Print what the bundle contains, which of its engines open on this device, and which one `tag` uses."""
    from benchmarks.device import machine
    from export import __version__
    from export.bundle import signature
    from export.bundle.bundle import read_bundle
    from export.errors import NoEngineError
    from export.tagger import choose

    manifest = read_bundle(options.bundle, key=options.require_signature)
    times = _times(options, manifest)  # before any engine is opened: it records those that crash the process
    engines = [_state(options, manifest, entry, times) for entry in manifest.engines]
    refused = {engine.name: engine.lacks for engine in engines if engine.lacks}
    try:
        choice = choose(manifest, options.engine, times=times, refused=refused)
        chosen: dict[str, str | None] = {"engine": choice.entry.name, "why": choice.why}
    except NoEngineError as cause:
        chosen = {"engine": None, "why": str(cause)}
    facts = {name: getattr(manifest, name) for name in ("recipe", "recipe_hash", "image_px", "composed", "measured")}
    facts |= {
        "program": __version__,
        "labels": list(manifest.labels),
        "signature": signature.state(options.bundle, options.require_signature),
        "thresholds": {
            "images": manifest.tune_images,
            **{name: manifest.aim.get(name) for name in ("aim", "precision")},
        },
        "engines": [dataclasses.asdict(engine) for engine in engines],
        "engines_measured": times.where if times and times.p50_ms else None,
        "chosen": chosen,
        "machine": machine.describe(),
    }
    print(json.dumps(facts) if options.json else printable_lines(_format(facts, engines)))
    return SOME_FAILED if options.rebuild and options.engine in refused else OK


def _times(options: argparse.Namespace, manifest: Manifest) -> EngineTimes | None:
    """Times of the engines on this machine, measured again: an engine that failed before may run now."""
    from export.tagger.engine_times import cached_times, measure_engines

    if options.engine is not None:
        return cached_times(options.bundle, manifest)
    try:
        return measure_engines(options.bundle, manifest, rebuild=options.rebuild, again=True)
    except OSError:  # no room for a rebuilt engine, which is reported when the engine is opened
        return None


def _state(
    options: argparse.Namespace, manifest: Manifest, entry: EngineEntry, times: EngineTimes | None
) -> EngineState:
    rebuild = options.rebuild and options.engine in (None, entry.name)
    lacks = None if times is None or rebuild else times.unusable.get(entry.name)
    built_here = None
    if lacks is None and not _has_just_run(options, manifest, entry, times):
        lacks, built_here = _try_opening(
            options, manifest, entry, rebuild, check=times is not None and not times.checked
        )
    return EngineState(
        name=entry.name,
        precision=entry.precision,
        bytes=sum(manifest.files[path].bytes for path in entry.files),
        p50_ms=entry.p50_ms,
        here_ms=times.p50_ms.get(entry.name) if times else None,
        thresholds_from=entry.thresholds_from,
        lacks=lacks,
        built_here=built_here,
    )


def _has_just_run(
    options: argparse.Namespace, manifest: Manifest, entry: EngineEntry, times: EngineTimes | None
) -> bool:
    """Whether the engine was opened and checked for `times`, from its file in the bundle."""
    from export.tagger.engine_choice import backend_of
    from export.tagger.opening import built_here

    if options.engine is not None or times is None or not times.checked or entry.name not in times.p50_ms:
        return False
    return not built_here(manifest, entry, backend_of(entry))


def _try_opening(
    options: argparse.Namespace, manifest: Manifest, entry: EngineEntry, rebuild: bool, check: bool
) -> tuple[str | None, str | None]:
    """Why the engine cannot be used, and its file if this device built it; with `check`, its scores are compared."""
    from export.bundle.golden import Golden
    from export.tagger.engine_choice import backend_of
    from export.tagger.engine_times import wrong_scores
    from export.tagger.opening import open_engine

    backend = backend_of(entry)
    try:
        with open_engine(options.bundle, manifest, entry, backend, rebuild=rebuild) as session:
            built_here = str(session.engine) if session.engine != options.bundle / entry.file else None
            golden = Golden.read(options.bundle, manifest) if check else None
            return wrong_scores(entry, backend, session, golden) if golden else None, built_here
    except Exception as cause:  # every runtime raises its own classes
        return one_line(cause), None


def _format(facts: dict[str, Any], engines: list[EngineState]) -> str:
    lines = [f"{facts['recipe']} ({facts['recipe_hash'][:12]}), {len(facts['labels'])} labels, {facts['image_px']} px"]
    lines.append(f"bundle: {facts['signature']}")
    tuned = facts["thresholds"]
    aims = {"f1": "for the highest F1", "precision": f"for a precision of at least {tuned['precision']}"}
    lines.append(f"thresholds: tuned {aims.get(tuned['aim'], '')} on {tuned['images']} images".replace("  ", " "))
    first: dict[str, str] = {}  # the first engine with each reason, which is printed once
    for engine in engines:
        state = f"runs here, built on this device: {engine.built_here}" if engine.built_here else "runs here"
        if engine.lacks:
            same = first.setdefault(engine.lacks, engine.name)
            state = f"cannot run here: {engine.lacks if same == engine.name else f'see {same}'}"
        ms = f"{engine.here_ms:8.2f} ms" if engine.here_ms is not None else f"{'':11}"
        lines.append(f"  {engine.name:24} {engine.bytes / 1e6:6.1f} MB {ms}  {state}")
    chosen = facts["chosen"]
    lines.append(f"engine: {chosen['engine']}: {chosen['why']}" if chosen["engine"] else "engine: none can run here")
    lines.append(f"program: tagger {facts['program']}")
    lines.append(f"machine: {facts['machine']['cpu']}, {facts['machine']['cores']} cores, {facts['machine']['os']}")
    return "\n".join(lines)
