"""What a process does with a net in torch: time it as `tagger.pyz bench` times an engine, or score images with it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.device import machine
from benchmarks.device.measure import read_sources, sample
from benchmarks.device.output import PrintedRuntime, Process, ScoreResult
from benchmarks.device.protocol import Chain, Settings, measure
from benchmarks.device.sensors import Sensors
from export.onnx.to_onnx import Scores
from mlkd.core import images
from mlkd.core.files import sha256_of
from mlkd.models.checkpoint import BEST, load_model
from pipeline.references.torch_imports import IMPORTS_MS

COMPARED, TOLERANCE = 256, 1e-4  # images; scores in 0..1
Tagging = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Net:
    """A net of a training stage's folder, eager or compiled for one image; thresholds (L,) of its own scores."""

    folder: Path
    thresholds: NDArray[np.float32]
    threads: int
    cache: Path | None = None  # where what torch.compile makes is kept; None: eager


def bench(net: Net, arguments: Sequence[str]) -> dict[str, Any]:
    """What `tagger.pyz bench` with these arguments prints.

    `load_ms` covers torch's imports, the weights and, where it is compiled, that; `throughput` is not searched.
    """
    options = _parse(arguments)
    settings = Settings(
        queries=options.queries, least_s=options.least_s, threads=net.threads, warm_up_s=options.warmup_s
    )
    chosen = sample(read_sources(options.images), options.sample, options.seed)
    content = [image if isinstance(image, bytes) else image.read_bytes() for image in chosen]
    pinned = machine.pin(net.threads)
    torch.set_num_threads(net.threads)
    began = time.perf_counter_ns()
    with torch.inference_mode():
        tagging, image_px = _open(net)
        load_ms = IMPORTS_MS + (time.perf_counter_ns() - began) / 1e6
        chain = Chain(
            decode=lambda image: images.decode(image, image_px),
            resize=lambda image: images.resize(image, image_px),
            scores=tagging,
            decide=lambda scores: np.flatnonzero(scores >= net.thresholds),
        )
        measured = measure(chain, content, settings, Sensors(core=pinned[0] if pinned else None))
    process = Process(
        ran=_ran(net),
        sha256=sha256_of(net.folder / BEST),
        built_here=False,
        bytes=(net.folder / BEST).stat().st_size,
        pinned=pinned,
        load_ms=load_ms,
        **vars(measured),
        peak_rss_mb=machine.peak_memory_mb(),
        throughput=None,
    )
    return dataclasses.asdict(process)


def same(net: Net, files: Sequence[Path], expected: NDArray[np.float32]) -> dict[str, Any]:
    """What `tagger.pyz scores` prints of a compiled net: its scores (N, L) are those `expected` of the eager one.

    Raises ValueError where it differs from them on any of the first images, one at a time as it is timed.
    """
    torch.set_num_threads(net.threads)
    with torch.inference_mode():
        tagging, image_px = _open(net)
        found = np.concatenate([tagging(images.load(file, image_px)[None]) for file in files[:COMPARED]])
    apart = float(np.abs(found - expected[: len(found)]).max())
    if apart > TOLERANCE:
        raise ValueError(f"torch.compile: expected the scores of the eager net to {TOLERANCE:g}, got {apart:.2g} apart")
    return dataclasses.asdict(score_result(net))


def keep(found: NDArray[np.float32], out: Path) -> None:
    """Write scores (N, L) as `tagger.pyz scores` does."""
    out.parent.mkdir(parents=True, exist_ok=True)
    np.save(out, found)


def _open(net: Net) -> tuple[Tagging, int]:
    """The net with the sigmoid behind it, and its size of image; a compiled one has run once."""
    tagger = load_model(net.folder)
    module: Callable[[torch.Tensor], torch.Tensor] = Scores(tagger).eval()
    if net.cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(net.cache)
        torch._inductor.config.compile_threads = 1  # others would only share the cores that the process is pinned to
        module = torch.compile(module, fullgraph=True)

    def tagging(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = module(torch.from_numpy(pixels)).numpy()
        return found

    if net.cache is not None:
        tagging(np.zeros((tagger.image_px, tagger.image_px, 3), np.uint8)[None])  # other strides would compile again
    return tagging, tagger.image_px


def score_result(net: Net) -> ScoreResult:
    """Return what a process prints of the scores of a net."""
    return ScoreResult(ran=_ran(net), sha256=sha256_of(net.folder / BEST))


def _ran(net: Net) -> PrintedRuntime:
    version = f"torch {torch.__version__}" + ("" if net.cache is None else ", torch.compile")
    return PrintedRuntime(provider="cpu", device="cpu", compute="f32", version=version, placed=1.0)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of `tagger.pyz bench` and `tagger.pyz scores`; those without a meaning here are passed over."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--least-s", type=float, default=0.0)
    parser.add_argument("--warmup-s", type=float, default=10.0)
    return parser.parse_known_args(arguments)[0]
