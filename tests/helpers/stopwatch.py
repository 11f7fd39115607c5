"""Engines whose speed a test decides."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends import Session
from export.bundle.bundle import EngineEntry, Manifest
from export.tagger import Tagger


class Stopwatch:
    """Times OpenVINO faster than ONNX Runtime, and counts what it was given."""

    def __init__(self, openvino_ms: float = 1.0) -> None:
        self.openvino_ms = openvino_ms
        self.timed: list[str] = []
        self.images: list[NDArray[np.uint8]] = []

    def __call__(self, session: Session, images: Sequence[NDArray[np.uint8]]) -> float:
        self.timed.append(session.runtime_info.provider)
        self.images = list(images)
        return self.openvino_ms if session.runtime_info.provider == "openvino" else 2.0


def timed(manifest: Manifest, p50_ms: Mapping[str, float | None]) -> tuple[EngineEntry, ...]:
    """The manifest's engines as they were measured with the bundle."""
    return tuple(dataclasses.replace(entry, p50_ms=p50_ms[entry.name]) for entry in manifest.engines)


def loaded(folder: Path, **options: Any) -> tuple[str, str]:
    """Name of the engine that is chosen, and why it and no other."""
    with Tagger.load(folder, **options) as tagger:
        passed = f"; not {tagger.choice.rejected}" if tagger.choice.rejected else ""
        return tagger.choice.entry.name, tagger.choice.why + passed
