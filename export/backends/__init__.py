"""Inference runtimes, one a file; `Backend` is their union."""

from export.backends.base import RuntimeInfo, Session, score_in_batches
from export.backends.onnxruntime import OnnxRuntime
from export.backends.openvino import OpenVino
from export.backends.tensorrt import TensorRt
from export.errors import EngineError, MissingRuntimeError

Backend = OnnxRuntime | OpenVino | TensorRt

__all__ = [
    "Backend",
    "EngineError",
    "MissingRuntimeError",
    "OnnxRuntime",
    "OpenVino",
    "RuntimeInfo",
    "Session",
    "TensorRt",
    "score_in_batches",
]
