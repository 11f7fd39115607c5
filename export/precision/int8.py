"""INT8 with Q/DQ: the graph that each family of runtimes needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.precision.qdq import ACTIVATIONS, LAYERS, Family, quantize
from export.precision.ranges import calibrate

# TensorRT, CUDA and ARM: signed and symmetric in front of every product.
INT8 = Family(
    precision="int8",
    unsigned=False,
    types=LAYERS,
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,  # TensorRT's parser refuses DequantizeLinear on int32
        # TensorRT fuses a product with the Q/DQ of its inputs; Q/DQ of its output would only cost accuracy.
        "OpTypesToExcludeOutputQuantization": list(LAYERS),
    },
)
# ONNX Runtime on x86, whose kernels need unsigned activations.
INT8_X86 = Family(
    precision="int8_x86",
    unsigned=True,
    weight_bits=7,  # kernels for x86 without VNNI add pairs of products in 16 bits, and saturate with 8
    types=(*LAYERS, *ACTIVATIONS),  # with activations, a Clip becomes a range of its input
    options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},  # convolutions need Q/DQ of inputs and outputs
)
FAMILIES = {family.precision: family for family in (INT8, INT8_X86)}


def int8(model: Path, images: NDArray[np.uint8], out: Path) -> Path:
    """Write the graph: zero points 0, both branches of residual sums quantized.  Slow in ONNX Runtime on x86."""
    return quantize(model, calibrate(model, images, "min_max"), out, INT8)


def int8_x86(model: Path, images: NDArray[np.uint8], out: Path) -> Path:
    """Write the graph; weights stay signed."""
    return quantize(model, calibrate(model, images, "min_max"), out, INT8_X86)
