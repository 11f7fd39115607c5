"""`tagger.pyz bench` and `tagger.pyz scores`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.device.command import OK, SOME_FAILED, command, count


def add(commands: Any) -> None:
    """The commands bench and scores."""
    measured = command(commands, "bench", bench)
    measured.add_argument("--engine", metavar="NAME")
    measured.add_argument("--queries", type=count, default=256, help="at least so many")
    measured.add_argument("--least-s", type=float, default=0.0, help="and for at least so long")
    measured.add_argument("--sample", type=count, metavar="N", help="time N of the pictures, picked by --seed")
    measured.add_argument("--seed", type=int, default=0)
    measured.add_argument("--warmup-s", type=float, default=10.0, help="longest warm-up")
    measured.add_argument("--throughput", action="store_true", help="search the best batch and streams as well")
    measured.add_argument("--sustained-s", type=float, default=0.0, help="then go on for so long")
    scored = command(commands, "scores", scores)
    scored.add_argument("--engine", metavar="NAME", action="append", required=True, help="may be repeated")
    scored.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="gets ENGINE.npy, (N, L) each")
    scored.add_argument("--batch", type=count, default=32)
    for parser in (measured, scored):
        parser.add_argument("--threads", type=count)
        parser.add_argument("--pictures", type=Path, required=True, metavar="FILE", help="one path a line, or a .zip")


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
