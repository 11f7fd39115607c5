"""What `tagger.pyz` does on other devices, in a page: its arguments in, what it prints out."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.browser import protocol
from benchmarks.browser.protocol import Opened, Page
from benchmarks.browser.site import Site, lacks
from benchmarks.device import machine
from benchmarks.device.measure import read_sources, sample
from benchmarks.device.output import PrintedRuntime, Process, ScoreResult
from benchmarks.device.protocol import Settings
from benchmarks.device.sensors import Sensors
from export.bundle.manifest import EngineEntry
from export.tagger.limits import graph_compute, score_limit
from export.web.chromium import FLAGS, BrowserError
from export.web.server import Source

INSTRUCTION_SET = "wasm"  # its arithmetic is exact, whatever the processor
OpenPage = Callable[[Mapping[str, Source]], AbstractContextManager[Page]]


def answer(site: Site, open_page: OpenPage, words: Sequence[str]) -> dict[str, Any]:
    """Do what the words say in fresh browsers; BrowserError if one fails."""
    command, *arguments = words
    options, _ = _parser().parse_known_args(arguments)  # the others change nothing in a page
    return {"info": info, "bench": bench, "scores": scores}[command](site, open_page, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--engine", action="append", default=[])
    for name in ("images", "out"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("sample", "seed", "queries"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("least-s", "warmup-s", "sustained-s"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--throughput", action="store_true")
    return parser


def info(site: Site, open_page: OpenPage, _: argparse.Namespace) -> dict[str, Any]:
    """The engines that a page can run with the right scores, and this machine with its browser."""
    with open_page(site.files()) as page:
        version, step_ms = protocol.open_models(page, []).version, page.numbers("resolution")[0]
        browser = page.tab.browser
        facts = {
            "instruction_set": INSTRUCTION_SET,
            "runtimes": {"onnxruntime-web": version.rpartition(" ")[2]},
            "browser": browser.call("Browser.getVersion")["product"],
            "browser_flags": " ".join(FLAGS),
            "sandbox": "on" if browser.sandbox else "off, as root cannot have one",
            "clock_step_us": round(1000 * step_ms, 3),
            "pinned": False,
        }
    entries = site.manifest.engines
    reasons = {entry.name: lacks(entry) or _problem(site, open_page, entry) for entry in entries}
    engines = [{"name": name, "lacks": reason} for name, reason in reasons.items()]
    return {"engines": engines, "machine": {**machine.describe(), **facts}}


def bench(site: Site, open_page: OpenPage, options: argparse.Namespace) -> dict[str, Any]:
    """What one engine measures in one fresh browser."""
    (entry,) = _entries(site, options.engine)
    if options.throughput:
        raise BrowserError("expected latencies, as a page has one thread and no batches, got --throughput")
    settings = Settings(
        queries=options.queries,
        least_s=options.least_s,
        threads=1,
        warm_up_s=options.warmup_s,
        sustained_s=options.sustained_s,
    )
    images = sample(read_sources(options.images), options.sample, options.seed)
    with open_page(site.files(images)) as page:
        opened = protocol.open_models(page, [entry.name], len(images))
        measured = protocol.measure(page, settings, Sensors())
    process = Process(
        **vars(measured),
        ran=_ran(entry, opened),
        sha256=site.manifest.files[entry.file].sha256,
        bytes=sum(site.manifest.files[file].bytes for file in entry.files),
        built_here=False,
        pinned=None,
        load_ms=opened.load_ms,
        peak_rss_mb=None,
        throughput=None,
    )
    return dataclasses.asdict(process)


def scores(site: Site, open_page: OpenPage, options: argparse.Namespace) -> dict[str, Any]:
    """Write ENGINE.npy (N, L) for every engine named; each image is decoded once."""
    entries, images = _entries(site, options.engine), read_sources(options.images)
    with open_page(site.files(images)) as page:
        opened = protocol.open_models(page, [entry.name for entry in entries])
        values = protocol.scores(page, "images", len(images), len(entries), len(site.manifest.labels))
    options.out.mkdir(parents=True, exist_ok=True)
    results = {}
    for entry, of_entry in zip(entries, values, strict=True):
        np.save(options.out / f"{entry.name}.npy", of_entry)
        result = ScoreResult(ran=_ran(entry, opened), sha256=site.manifest.files[entry.file].sha256)
        results[entry.name] = dataclasses.asdict(result)
    return results


def _entries(site: Site, names: Sequence[str]) -> list[EngineEntry]:
    entries = [site.manifest.engine(name) for name in names]
    for reason in filter(None, map(lacks, entries)):
        raise BrowserError(reason)
    return entries


def _problem(site: Site, open_page: OpenPage, entry: EngineEntry) -> str | None:
    """Why an engine does not run, or how its scores of the golden images differ from the expected ones."""
    expected = site.golden.scores[entry.name]
    try:
        with open_page(site.files()) as page:
            opened = protocol.open_models(page, [entry.name])
            (actual,) = protocol.scores(page, "pixels", len(expected), 1, expected.shape[1])
    except BrowserError as cause:
        return str(cause)
    return score_limit(entry, _ran(entry, opened)).wrong_tags(expected, actual)


def _ran(entry: EngineEntry, opened: Opened) -> PrintedRuntime:
    """WASM has no other provider, to which nodes could fall back."""
    compute = graph_compute(entry.precision)
    return PrintedRuntime(provider="wasm", device="browser", compute=compute, version=opened.version, placed=1.0)
