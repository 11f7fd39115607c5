"""INT8 for TensorRT, CUDA and ARM: signed symmetric Q/DQ in front of every product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.precision.qdq import Family, quantise

TYPES = ("Conv", "MatMul", "Gemm", "Add")
FAMILY = Family(
    precision="int8",
    unsigned=False,
    types=TYPES,
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,  # TensorRT's parser refuses DequantizeLinear on int32
        # TensorRT fuses a product with the Q/DQ of its inputs; rounding its output as well would only cost accuracy.
        "OpTypesToExcludeOutputQuantization": list(TYPES),
    },
)


def int8(model: Path, images: NDArray[np.uint8], out: Path) -> Path:
    """Write the graph; zero points 0, both branches of a residual sum quantised.  Slow in ONNX Runtime on x86."""
    return quantise(model, images, out, FAMILY)
