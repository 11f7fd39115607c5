"""Tests whether int8 products saturate on this machine: x86 kernels without VNNI add pairs of products in 16 bits."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from export.backends import runtime_import, stamp

# An ONNX model of one MatMulInteger, uint8 (m, k) times int8 (k, n), as bytes: a device may lack the package onnx.
PROBE = (
    b'\x08\x07:b\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x01pZ\x15\n\x01a\x12\x10\n\x0e\x08\x02\x12\n\n\x03'
    b"\x12\x01m\n\x03\x12\x01kZ\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01k\n\x03\x12\x01nb\x15\n\x01y\x12"
    b"\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01m\n\x03\x12\x01nB\x04\n\x00\x10\r"
)
DEPTH, COLUMNS = 64, 16  # large enough for the vectorised kernel
WITHOUT_VNNI = ("avx512f", "avx2", "x86_64", "AMD64")  # values of `stamp.instruction_set`


@lru_cache(maxsize=1)
def saturates() -> bool:
    """Compute a product of the largest uint8 activations and int8 weights with ONNX Runtime, and compare it.

    255 * 127 + 255 * 127 does not fit into 16 bits; with 7-bit weights it does.  Takes milliseconds once onnxruntime is
    imported.  Raises ImportError without onnxruntime.
    """
    onnxruntime = runtime_import.import_runtime("onnxruntime")

    session = onnxruntime.InferenceSession(PROBE, providers=["CPUExecutionProvider"])
    activations, weights = np.full((1, DEPTH), 255, np.uint8), np.full((DEPTH, COLUMNS), 127, np.int8)
    product = session.run(None, {"a": activations, "b": weights})[0]
    return bool((product != DEPTH * 255 * 127).any())


def kernels_saturate() -> bool:
    """Whether int8 products saturate here, by ONNX Runtime; without it, by the instruction set."""
    try:
        return saturates()
    except ImportError:
        return stamp.instruction_set() in WITHOUT_VNNI
