"""Inference runtimes, one a file; `Backend` is their union.

A backend is a frozen dataclass with a `kind`, its name in recipes and manifests, and four methods:

- `compile(model, out_dir)` compiles an ONNX graph to an engine file, possibly on another machine than the one opening
  it.  Raises EngineError if the runtime refuses the graph, MissingRuntimeError without the runtime, OSError if the disk
  is full.
- `open(engine)` opens the engine as a `Session` on the requested device; nothing falls back to another.  Raises
  EngineError for a foreign or changed file, MissingRuntimeError if it cannot run on this machine.
- `unavailable_reason()` says why no engine can run on this machine, and what to do; None if one can.
- `files(engine)` lists the files of an engine: itself first, its stamp last.
"""

import dataclasses
from typing import TypeVar

from export.backends import host
from export.backends.base import RuntimeInfo, Session, score_in_batches
from export.backends.onnxruntime import OnnxRuntime
from export.backends.openvino import OpenVino
from export.backends.tensorrt import TensorRt

Backend = OnnxRuntime | OpenVino | TensorRt
AnyBackend = TypeVar("AnyBackend", bound=Backend)


def on_all_cores(backend: AnyBackend) -> AnyBackend:
    """Return the backend with a thread on each core of this machine, to score many images."""
    if isinstance(backend, TensorRt):
        return backend
    return dataclasses.replace(backend, threads=host.usable_cores())


__all__ = [
    "Backend",
    "OnnxRuntime",
    "OpenVino",
    "RuntimeInfo",
    "Session",
    "TensorRt",
    "on_all_cores",
    "score_in_batches",
]
