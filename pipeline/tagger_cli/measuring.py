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

MOST_IMAGES = 64  # of those that a person names
LONGEST_S = 24 * 3600.0  # for one engine; a slow board takes minutes
COLUMNS = {
    "p50 ms": 2,
    "p90 ms": 2,
    "engine ms": 2,
    "images/s": 0,
    "load ms": 0,
    "file MB": 1,
    "memory MB": 0,
}  # digits
LEGEND = """p50, p90: from an image's bytes to its labels; engine: the median of its part alone, one image at a time
images/s: the engine alone, at its best batch and as many streams as that takes"""


def add(commands: Any) -> None:
    """The commands bench and scores."""
    measured = command(commands, "bench", bench)
    measured.add_argument("files", nargs="*", metavar="IMAGE", help="default: the golden images of the bundle")
    measured.add_argument("--engine", metavar="NAME", action="append", help="may be repeated; default: all of them")
    measured.add_argument("--queries", type=count, default=256, help="at least so many")
    measured.add_argument("--least-s", type=float, default=0.0, help="and for at least so long")
    measured.add_argument("--sample", type=count, metavar="N", help="time N of the images, picked by --seed")
    measured.add_argument("--seed", type=int, default=0)
    measured.add_argument("--warmup-s", type=float, default=10.0, help="longest warm-up")
    one = measured.add_argument_group("one engine in this process, as one JSON object with every sample")
    one.add_argument("--images", type=Path, metavar="FILE", help="one path a line, or a .zip")
    one.add_argument("--throughput", action="store_true", help="search the best batch and streams as well")
    one.add_argument(
        "--throughput-at",
        dest="throughput",
        nargs=2,
        type=count,
        metavar=("BATCH", "STREAMS"),
        help="measure throughput at this setting",
    )
    one.add_argument("--sustained-s", type=float, default=0.0, help="then go on for so long")
    scored = command(commands, "scores", scores)
    scored.add_argument("--engine", metavar="NAME", action="append", required=True, help="may be repeated")
    scored.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets ENGINE.npy, (N, L) each")
    scored.add_argument("--batch", type=count, default=32)
    scored.add_argument("--images", type=Path, required=True, metavar="FILE", help="one path a line, or a .zip")
    for parser in (measured, scored):
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
    import tempfile  # slow to import: what tags does not wait for it

    from benchmarks.device import machine
    from benchmarks.device.tagger_process import Program
    from export.bundle.bundle import PROGRAM, read_bundle
    from export.tagger.engine_choice import backend_of, by_reason
    from export.tagger.opening import lacks

    manifest = read_bundle(options.bundle, key=options.require_signature)
    entries = [manifest.engine(name) for name in options.engine] if options.engine else manifest.engines
    tried = {entry.name: lacks(manifest, entry, backend_of(entry)) for entry in entries}
    try:
        temporary = tempfile.TemporaryDirectory()
    except FileNotFoundError as cause:
        raise OSError(
            f"bench: expected a temporary folder that can be written, got: {cause.strerror}; set TMPDIR"
        ) from None
    with temporary as folder:
        pack = _packed(options, manifest, Path(folder))
        print(f"{'':24}{''.join(f'{column:>12}' for column in COLUMNS)}", flush=True)
        program = Program([sys.executable, str(options.bundle.resolve() / PROGRAM)], LONGEST_S)
        for name in [name for name, lacking in tried.items() if lacking is None]:
            tried[name] = _print_row(program, name, _words(options, pack))
    failed = {name: reason for name, reason in tried.items() if reason is not None}
    print("".join(f"not measured: {one}\n" for one in by_reason(failed)), end="")
    print(f"{LEGEND}\n{machine.cpu_model()}, {len(machine.allowed())} cores: {machine.comparable()}")
    return SOME_FAILED if len(failed) == len(tried) or (options.engine and failed) else OK


def scores(options: argparse.Namespace) -> int:
    """Write ENGINE.npy (N, L) for every engine asked for and print one JSON object."""
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
    """The images to measure with in one file; those that cannot be read are said and left out."""
    from benchmarks.device.image_pack import write_pack
    from benchmarks.device.measure import sample
    from export.tagger.inputs import find
    from mlkd.core.images import UnreadableImageError, decode

    words = options.files or [str(options.bundle / path) for path in manifest.golden]
    found = find(words, getattr(sys.stdin, "buffer", None))
    for name, cause in found.failed:
        fail(ValueError(f"{name}: {cause}"))
    files = []
    for at, image in enumerate(sample(found.images, options.sample or MOST_IMAGES, options.seed)):
        try:
            decode(image, manifest.image_px)
        except UnreadableImageError as cause:
            fail(cause)
            continue
        if isinstance(image, bytes):
            (folder / f"{at}").write_bytes(image)
        files.append(folder / f"{at}" if isinstance(image, bytes) else image)
    if not files:
        raise ValueError("bench: expected at least one image that can be read, got none; name others")
    return write_pack(files, folder / "images.zip")


def _words(options: argparse.Namespace, pack: Path) -> list[str]:
    """What each process is told."""
    words = ["--images", str(pack), "--queries", str(options.queries), "--least-s", str(options.least_s)]
    words += ["--warmup-s", str(options.warmup_s)]
    words += ["--threads", str(options.threads)] if options.threads else []
    signed = options.require_signature
    return words + (["--require-signature", str(signed.resolve())] if signed is not None else [])


def _print_row(program: Program, engine: str, words: list[str]) -> str | None:
    """Measure one engine, its best throughput once more in a process of its own, and print its row.

    Returns why there is none, else None.
    """
    import numpy as np

    from benchmarks.device.tagger_process import ProcessFailedError

    try:
        told = program("bench", "--engine", engine, *words, "--throughput")
        setting = [str(told["throughput"][key]) for key in ("batch", "streams")]
        short = ["--queries", "1", "--least-s", "0", "--throughput-at", *setting]
        again = program("bench", "--engine", engine, *words, *short)
    except ProcessFailedError as cause:
        return one_line(cause)
    p50, p90 = np.percentile(told["samples"]["end_to_end_ms"], [50, 90])
    alone = np.median(told["samples"]["engine_ms"])
    rate, memory = again["throughput"]["images_per_second"], told["peak_rss_mb"]  # no memory but on Linux
    figures = (p50, p90, alone, rate, told["load_ms"], told["bytes"] / 1e6, memory)
    shown = (
        "-" if figure is None else f"{figure:.{digits}f}"
        for figure, digits in zip(figures, COLUMNS.values(), strict=True)
    )
    warning = f"\n  warning: {told['wrong']}" if told["wrong"] else ""
    print(f"{engine:24}{''.join(f'{figure:>12}' for figure in shown)}{warning}", flush=True)
    return None


def _check_signature(options: argparse.Namespace) -> None:
    from export.bundle.bundle import read_bundle

    if options.require_signature is not None:  # the hashes of the files are checked when they are opened
        read_bundle(options.bundle, verify=False, key=options.require_signature)
