"""INT8 for TensorRT, CUDA and ARM: signed symmetric Q/DQ in front of every product."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.precision.qdq import LAYERS, Family, quantize
from export.precision.ranges import Method, calibrate

FAMILY = Family(
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


def int8(
    model: Path, images: NDArray[np.uint8], out: Path, method: Method = "min_max", keep_float: Collection[str] = ()
) -> Path:
    """Write the graph: zero points 0, both branches of residual sums quantized.  Slow in ONNX Runtime on x86."""
    return quantize(model, calibrate(model, images, method), out, FAMILY, keep_float)
