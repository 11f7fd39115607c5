"""The command line of tagger.pyz: tag, info, bench, scores; torch-free."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the real imports wait until a command needs them, so that --help is quick
    from export.manifest import EngineEntry, Manifest
    from export.tagger import Tag, Tagger

OK, SOME_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0, 1 if pictures or an engine to rebuild failed, 2 if nothing could be done."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader had enough; what is still buffered must not fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        print("tagger: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as cause:  # runtimes raise classes of their own; a device shows one line, not a traceback
        if options.debug:
            raise
        return _fail(cause)
    return code


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
                _fail(cause)
                if options.json:
                    print(json.dumps({"picture": str(picture), "error": _one_line(cause)}, ensure_ascii=False))
            else:
                print(_as_json(picture, tags) if options.json else _as_text(picture, tags))
    if failed:
        print(f"{failed} of {len(options.pictures)} pictures failed", file=sys.stderr)
    return SOME_FAILED if failed else OK


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


def bench(options: argparse.Namespace) -> int:
    """Measure one engine in this process and print one JSON object."""
    from benchmarks.on_device import bench, pictures, sample
    from benchmarks.protocol import Settings

    settings = Settings(
        queries=options.queries,
        least_s=options.least_s,
        threads=options.threads,
        warm_up_s=options.warmup_s,
        throughput=options.throughput,
        sustained_s=options.sustained_s,
    )
    chosen = sample(pictures(options.pictures), options.sample, options.seed)
    print(json.dumps(bench(options.bundle, options.engine, chosen, settings)))
    return OK


def scores(options: argparse.Namespace) -> int:
    """Write ENGINE.npy (N, L) for every engine asked for and print one JSON object."""
    from benchmarks.on_device import pictures, score_files

    files = pictures(options.pictures)
    report = score_files(
        options.bundle, options.engine, files, options.out, batch=options.batch, threads=options.threads
    )
    print(json.dumps(report))
    return SOME_FAILED if any(entry["error"] for entry in report.values()) else OK


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


def _fail(cause: BaseException) -> int:
    print(f"tagger: {_one_line(cause)}", file=sys.stderr)
    return USER_ERROR


def _one_line(cause: BaseException) -> str:
    return " ".join(str(cause).split()) or type(cause).__name__


def _home() -> Path:
    """The folder that tagger.pyz lies in; the current one when it runs from the sources."""
    program = Path(__file__).parents[1]
    return program.parent if program.is_file() else Path()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tagger", description="Tag pictures with the engines of a bundle.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _tag_options(_command(commands, "tag", tag))
    described = _command(commands, "info", info)
    described.add_argument("--engine", metavar="NAME")
    described.add_argument("--json", action="store_true")
    _rebuild_option(described)
    measured = _command(commands, "bench", bench)
    measured.add_argument("--engine", metavar="NAME")
    measured.add_argument("--queries", type=_count, default=256, help="at least so many")
    measured.add_argument("--least-s", type=float, default=0.0, help="and for at least so long")
    measured.add_argument("--sample", type=_count, metavar="N", help="time N of the pictures, picked by --seed")
    measured.add_argument("--seed", type=int, default=0)
    measured.add_argument("--warmup-s", type=float, default=10.0, help="longest warm-up")
    measured.add_argument("--throughput", action="store_true", help="search the best batch and streams as well")
    measured.add_argument("--sustained-s", type=float, default=0.0, help="then go on for so long")
    scored = _command(commands, "scores", scores)
    scored.add_argument("--engine", metavar="NAME", action="append", required=True, help="may be repeated")
    scored.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets ENGINE.npy, (N, L) each")
    scored.add_argument("--batch", type=_count, default=32)
    for command in (measured, scored):
        command.add_argument("--threads", type=_count)
        command.add_argument("--pictures", type=Path, required=True, metavar="FILE", help="one path a line, or a .zip")
    return parser


def _tag_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE")
    command.add_argument("--json", action="store_true", help="one JSON object a line")
    command.add_argument("--engine", metavar="NAME", help="instead of the fastest that runs here")
    command.add_argument("--threshold", type=float, help="for all labels, instead of the engine's own")
    command.add_argument("--top-k", type=_count, metavar="N", help="at most N labels a picture")
    _rebuild_option(command)


def _rebuild_option(command: argparse.ArgumentParser) -> None:
    """Not for bench and scores: they use what was built, and a builder's memory and time are no engine's."""
    text = "compile from the bundle's ONNX, into this device's cache, what was built for another device or version"
    command.add_argument("--rebuild", action="store_true", help=text)


def _command(commands: Any, name: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    command.set_defaults(run=run)
    command.add_argument("--bundle", type=Path, default=_home(), metavar="FOLDER", help="default: beside tagger.pyz")
    command.add_argument("--verbose", action="store_true", help="say which engine runs, and why")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
