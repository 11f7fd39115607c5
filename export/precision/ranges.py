"""Calibrates the ranges of int8 activations on images, by three methods."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from export.quiet import quiet

Ranges = Mapping[str, tuple[float, float]]  # by tensor of the float graph: lowest and highest value
Method = Literal["percentile", "min_max", "entropy"]  # in the order in which they are tried
METHODS: tuple[Method, ...] = get_args(Method)

BATCH = 16  # all activations of a batch are in memory
TYPES = ("Conv", "MatMul", "Gemm", "Add", "Clip", "Relu")  # operators whose inputs and outputs are calibrated
# More bins make entropy's search slow, fewer make percentiles coarse.
OPTIONS: dict[Method, dict[str, Any]] = {
    "min_max": {},
    "entropy": {"num_bins": 512, "num_quantized_bins": 128},
    "percentile": {"num_bins": 2048, "percentile": 99.99},
}


def calibrate(model: Path, images: NDArray[np.uint8], method: Method) -> dict[str, tuple[float, float]]:
    """Compute the ranges of the float graph's activations over images (K, H, W, 3), with ONNX Runtime's calibrators.

    Raises ValueError for images of another shape or type, or none.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    check_images(images)
    kind = {"min_max": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}[method]
    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            str(prepare(model, Path(folder) / "prepared.onnx")),
            TYPES,
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod[kind],
            extra_options=OPTIONS[method],
        )
        calibrator.set_execution_providers(["CPUExecutionProvider"])
        with quiet():  # calibrators print
            for start in range(0, len(images), BATCH):
                name = calibrator.infer_session.get_inputs()[0].name
                calibrator.collect_data(_Reader({name: np.ascontiguousarray(images[start : start + BATCH])}))
            calibrated = calibrator.compute_data()
    return {name: _pair(value.range_value) for name, value in sorted(calibrated.items())}


def prepare(model: Path, out: Path) -> Path:
    """Write the graph with folded batch norms and inferred shapes, as quantizers need it; names are kept."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(model), str(out), skip_symbolic_shape=True)
    return out


def check_images(images: NDArray[np.uint8]) -> None:
    """Raise ValueError unless the images are uint8 (K, H, W, 3) with K >= 1."""
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"calibration: expected uint8 (K, H, W, 3) with K >= 1, got {images.dtype} {images.shape}")


class _Reader:
    """Gives the calibrator one batch at a time: it would keep the activations of several in memory."""

    def __init__(self, feed: dict[str, NDArray[np.uint8]]) -> None:
        self._feeds = [feed]

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return self._feeds.pop() if self._feeds else None


def _pair(values: Any) -> tuple[float, float]:
    low, high = (float(np.ravel(value)[0]) for value in values)
    return low, high
