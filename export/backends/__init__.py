"""Runtimes, one a file: `Backend` is any of them."""

from export.backends.base import RuntimeInfo, Session
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
]
