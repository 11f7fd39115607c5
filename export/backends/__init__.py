"""Runtimes, one a file: `Backend` is any of them."""

from export.backends.base import EngineRefused, MissingRuntime, Ran, Session
from export.backends.onnxruntime import OnnxRuntime
from export.backends.openvino import OpenVino
from export.backends.tensorrt import TensorRt

Backend = OnnxRuntime | OpenVino | TensorRt

__all__ = ["Backend", "EngineRefused", "MissingRuntime", "OnnxRuntime", "OpenVino", "Ran", "Session", "TensorRt"]
