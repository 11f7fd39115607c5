"""`tagger.pyz bench` and `tagger.pyz scores`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.tagger_cli.command import OK, SOME_FAILED, command, count, fail, one_line

if TYPE_CHECKING:
    from benchmarks.device.tagger_process import Program
    from export.bundle.manifest import Manifest

MOST_IMAGES = 64  # of the images on the command line
TIMEOUT_S = 24 * 3600.0  # for one engine; a slow board takes minutes
COLUMNS = {
    "p50 ms": 2,
    "p90 ms": 2,
    "engine ms": 2,
    "images/s": 0,
    "load ms": 0,
    "file MB": 1,
    "memory MB": 0,
}  # digits
LEGEND = """p50, p90: from an image's bytes to its labels; engine: median of the engine alone, one image at a time
images/s: the engine alone, at its best batch size and number of streams"""


def add(commands: Any) -> None:
    """Add the commands bench and scores."""
    timed = command(commands, "bench", bench)
    timed.add_argument("files", nargs="*", metavar="IMAGE", help="default: the golden images of the bundle")
    timed.add_argument("--engine", metavar="NAME", action="append", help="may be repeated; default: all")
    timed.add_argument("--queries", type=count, default=256, help="smallest number of queries")
    timed.add_argument("--least-s", type=float, default=0.0, help="shortest duration of the queries")
    timed.add_argument("--sample", type=count, metavar="N", help="use N of the images, chosen by --seed")
    timed.add_argument("--seed", type=int, default=0)
    timed.add_argument("--warmup-s", type=float, default=10.0, help="longest warm-up")
    one = timed.add_argument_group("one engine in this process, printed as one JSON object with every sample")
    one.add_argument("--images", type=Path, metavar="FILE", help="a text file with one path per line, or a .zip")
    one.add_argument("--throughput", action="store_true", help="also search the best batch size and number of streams")
    one.add_argument(
        "--throughput-at",
        dest="throughput",
        nargs=2,
        type=count,
        metavar=("BATCH", "STREAMS"),
        help="measure throughput at this setting",
    )
    one.add_argument("--sustained-s", type=float, default=0.0, help="continue for this time afterwards")
    scored = command(commands, "scores", scores)
    scored.add_argument("--engine", metavar="NAME", action="append", required=True, help="may be repeated")
    scored.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for ENGINE.npy, (N, L) each")
    scored.add_argument("--batch", type=count, default=32)
    scored.add_argument(
        "--images", type=Path, required=True, metavar="FILE", help="a text file with one path per line, or a .zip"
    )
    for parser in (timed, scored):
        parser.add_argument("--threads", type=count)


def bench(options: argparse.Namespace) -> int:
    """Measure engines, each in a fresh process, and print a table; with --images one engine as JSON."""
    if options.images is not None:
        return _measure_here(options)
    if options.throughput or options.sustained_s:
        raise ValueError(
            "bench: expected --images FILE with --throughput, --throughput-at and --sustained-s, got none; name one"
        )
    return _print_table(options)


def _print_table(options: argparse.Namespace) -> int:
    import tempfile  # slow to import

    from benchmarks.device import machine
    from benchmarks.device.tagger_process import Program
    from export.bundle.bundle import PROGRAM, read_bundle
    from export.tagger.engine_choice import backend_of, by_reason
    from export.tagger.opening import unavailable_reason

    manifest = read_bundle(options.bundle, key=options.require_signature)
    entries = [manifest.engine(name) for name in options.engine] if options.engine else manifest.engines
    reasons = {entry.name: unavailable_reason(manifest, entry, backend_of(entry)) for entry in entries}
    try:
        temporary = tempfile.TemporaryDirectory()
    except FileNotFoundError as cause:
        raise OSError(f"bench: expected a writable temporary folder, got: {cause.strerror}; set TMPDIR") from None
    with temporary as folder:
        pack = _packed(options, manifest, Path(folder))
        print(f"{'':24}{''.join(f'{column:>12}' for column in COLUMNS)}", flush=True)
        program = Program([sys.executable, str(options.bundle.resolve() / PROGRAM)], TIMEOUT_S)
        for name in [name for name, reason in reasons.items() if reason is None]:
            reasons[name] = _print_row(program, name, _arguments(options, pack))
    failed = {name: reason for name, reason in reasons.items() if reason is not None}
    print("".join(f"not measured: {text}\n" for text in by_reason(failed)), end="")
    print(f"{LEGEND}\n{machine.cpu_model()}, {len(machine.allowed())} cores: {machine.comparable()}")
    return SOME_FAILED if len(failed) == len(reasons) or (options.engine and failed) else OK


def scores(options: argparse.Namespace) -> int:
    """Write ENGINE.npy (N, L) for every engine named, and print one JSON object."""
    from benchmarks.device.measure import read_sources, score_files

    _check_signature(options)
    files = read_sources(options.images)
    results = score_files(
        options.bundle, options.engine, files, options.out, batch=options.batch, threads=options.threads
    )
    print(json.dumps({name: dataclasses.asdict(result) for name, result in results.items()}))
    return SOME_FAILED if any(result.error for result in results.values()) else OK


def _measure_here(options: argparse.Namespace) -> int:
    from benchmarks.device.measure import bench, read_sources, sample
    from benchmarks.device.protocol import Settings

    if options.files or len(options.engine or []) > 1:
        raise ValueError("bench: expected one --engine and no other images with --images, got more; leave one out")
    settings = Settings(
        queries=options.queries,
        least_s=options.least_s,
        threads=options.threads,
        warm_up_s=options.warmup_s,
        throughput=tuple(options.throughput) if isinstance(options.throughput, list) else options.throughput,
        sustained_s=options.sustained_s,
    )
    _check_signature(options)
    chosen = sample(read_sources(options.images), options.sample, options.seed)
    engine = options.engine[0] if options.engine else None
    print(json.dumps(dataclasses.asdict(bench(options.bundle, engine, chosen, settings))))
    return OK


def _packed(options: argparse.Namespace, manifest: Manifest, folder: Path) -> Path:
    """Write the images to measure with to one file; unreadable ones are reported and skipped."""
    from benchmarks.device.image_pack import write_pack
    from benchmarks.device.measure import sample
    from export.tagger.inputs import find_images
    from mlkd.core.images import UnreadableImageError, decode

    arguments = options.files or [str(options.bundle / path) for path in manifest.golden]
    sources = find_images(arguments, getattr(sys.stdin, "buffer", None))
    for name, cause in sources.failed:
        fail(ValueError(f"{name}: {cause}"))
    files = []
    for index, image in enumerate(sample(sources.images, options.sample or MOST_IMAGES, options.seed)):
        try:
            decode(image, manifest.image_px)
        except UnreadableImageError as cause:
            fail(cause)
            continue
        if isinstance(image, bytes):
            (folder / f"{index}").write_bytes(image)
        files.append(folder / f"{index}" if isinstance(image, bytes) else image)
    if not files:
        raise ValueError("bench: expected at least one readable image, got none; name others")
    return write_pack(files, folder / "images.zip")


def _arguments(options: argparse.Namespace, pack: Path) -> list[str]:
    """Command-line arguments for each process."""
    arguments = ["--images", str(pack), "--queries", str(options.queries), "--least-s", str(options.least_s)]
    arguments += ["--warmup-s", str(options.warmup_s)]
    arguments += ["--threads", str(options.threads)] if options.threads else []
    key = options.require_signature
    return arguments + (["--require-signature", str(key.resolve())] if key is not None else [])


def _print_row(program: Program, engine: str, arguments: list[str]) -> str | None:
    """Measure one engine, its best throughput again in a separate process, and print its row.

    Returns the error if that fails, else None.
    """
    import numpy as np

    from benchmarks.device.tagger_process import ProcessFailedError

    try:
        result = program("bench", "--engine", engine, *arguments, "--throughput")
        setting = [str(result["throughput"][key]) for key in ("batch", "streams")]
        short = ["--queries", "1", "--least-s", "0", "--throughput-at", *setting]
        again = program("bench", "--engine", engine, *arguments, *short)
    except ProcessFailedError as cause:
        return one_line(cause)
    p50, p90 = np.percentile(result["samples"]["end_to_end_ms"], [50, 90])
    engine_ms = np.median(result["samples"]["engine_ms"])
    rate, memory = again["throughput"]["images_per_second"], result["peak_rss_mb"]  # memory is known on Linux only
    figures = (p50, p90, engine_ms, rate, result["load_ms"], result["bytes"] / 1e6, memory)
    shown = (
        "-" if figure is None else f"{figure:.{digits}f}"
        for figure, digits in zip(figures, COLUMNS.values(), strict=True)
    )
    warning = f"\n  warning: {result['wrong']}" if result["wrong"] else ""
    print(f"{engine:24}{''.join(f'{figure:>12}' for figure in shown)}{warning}", flush=True)
    return None


def _check_signature(options: argparse.Namespace) -> None:
    from export.bundle.bundle import read_bundle

    if options.require_signature is not None:  # hashes of the files are checked when they are opened
        read_bundle(options.bundle, verify=False, key=options.require_signature)
