"""INT8 for ONNX Runtime on x86, whose kernels need unsigned activations."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.precision.qdq import ACTIVATIONS, LAYERS, Family, quantize
from export.precision.ranges import Method, calibrate

FAMILY = Family(
    precision="int8_x86",
    unsigned=True,
    weight_bits=7,  # kernels for x86 without VNNI add pairs of products in 16 bits, and saturate with 8
    types=(*LAYERS, *ACTIVATIONS),  # with activations, a Clip becomes a range of its input
    options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"]},  # convolutions need Q/DQ of inputs and outputs
)


def int8_x86(
    model: Path, images: NDArray[np.uint8], out: Path, method: Method = "min_max", keep_float: Collection[str] = ()
) -> Path:
    """Write the graph; weights stay signed."""
    return quantize(model, calibrate(model, images, method), out, FAMILY, keep_float)
