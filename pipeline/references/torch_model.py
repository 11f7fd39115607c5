"""Time and score a model in torch, eager or compiled, as `tagger.pyz bench` and `tagger.pyz scores` do an engine."""

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
from pipeline.references.torch_process import IMPORTS_MS

COMPARED, TOLERANCE = 256, 1e-4  # images; scores in 0..1
Session = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class TorchModel:
    """A model in the folder of a training stage; thresholds (L,) of its own scores."""

    folder: Path
    thresholds: NDArray[np.float32]
    threads: int
    cache: Path | None = None  # of torch.compile; None: eager


def bench(model: TorchModel, options: argparse.Namespace) -> dict[str, Any]:
    """Time the model one image at a time; options and answer are those of `tagger.pyz bench`.

    `load_ms` covers the imports of torch, the weights and compiling; `throughput` is not searched.
    """
    settings = Settings(
        queries=options.queries, least_s=options.least_s, threads=model.threads, warm_up_s=options.warmup_s
    )
    chosen = sample(read_sources(options.images), options.sample, options.seed)
    content = [image if isinstance(image, bytes) else image.read_bytes() for image in chosen]
    pinned = machine.pin(model.threads)
    torch.set_num_threads(model.threads)
    began = time.perf_counter_ns()
    with torch.inference_mode():
        session, image_px = _open(model)
        load_ms = IMPORTS_MS + (time.perf_counter_ns() - began) / 1e6
        chain = Chain(
            decode=lambda image: images.decode(image, image_px),
            resize=lambda image: images.resize(image, image_px),
            scores=session,
            decide=lambda scores: np.flatnonzero(scores >= model.thresholds),
        )
        measured = measure(chain, content, settings, Sensors(core=pinned[0] if pinned else None))
    process = Process(
        ran=_runtime(model),
        sha256=sha256_of(model.folder / BEST),
        built_here=False,
        bytes=(model.folder / BEST).stat().st_size,
        pinned=pinned,
        load_ms=load_ms,
        **vars(measured),
        peak_rss_mb=machine.peak_memory_mb(),
        throughput=None,
    )
    return dataclasses.asdict(process)


def check_scores(model: TorchModel, files: Sequence[Path], expected: NDArray[np.float32]) -> dict[str, Any]:
    """Compare a compiled model with the eager model's scores (N, L) of the first images; returns `describe(model)`.

    Raises ValueError if a score differs by more than TOLERANCE.
    """
    torch.set_num_threads(model.threads)
    with torch.inference_mode():
        session, image_px = _open(model)
        scores = np.concatenate([session(images.load(file, image_px)[None]) for file in files[:COMPARED]])
    difference = float(np.abs(scores - expected[: len(scores)]).max())
    if difference > TOLERANCE:
        raise ValueError(
            f"torch.compile: expected the scores of the eager model within {TOLERANCE:g}, got a difference of "
            f"{difference:.2g}"
        )
    return describe(model)


def describe(model: TorchModel) -> dict[str, Any]:
    """Say what ran, as the answer of `tagger.pyz scores` does for an engine without an error."""
    return dataclasses.asdict(ScoreResult(ran=_runtime(model), sha256=sha256_of(model.folder / BEST)))


def _runtime(model: TorchModel) -> PrintedRuntime:
    version = f"torch {torch.__version__}{'' if model.cache is None else ', torch.compile'}"
    return PrintedRuntime(provider="cpu", device="cpu", compute="f32", version=version, placed=1.0)


def _open(model: TorchModel) -> tuple[Session, int]:
    """The model with a sigmoid, and its image size; a compiled model has run once."""
    loaded = load_model(model.folder)
    module: Callable[[torch.Tensor], torch.Tensor] = Scores(loaded).eval()
    if model.cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(model.cache)
        torch._inductor.config.compile_threads = 1  # others would only share the cores that the process is pinned to
        module = torch.compile(module, fullgraph=True)

    def session(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = module(torch.from_numpy(pixels)).numpy()
        return scores

    if model.cache is not None:
        session(np.zeros((loaded.image_px, loaded.image_px, 3), np.uint8)[None])  # other strides would compile again
    return session, loaded.image_px
