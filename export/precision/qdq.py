"""What both families of Q/DQ graphs share: calibration by ONNX Runtime's quantiser, and what it leaves in float."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import graph
from export.precision import sensitive

BATCH = 16  # pictures calibrated at once


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one family of runtimes wants its Q/DQ graph."""

    precision: str  # as the graph's metadata says it
    unsigned: bool  # activations
    types: tuple[str, ...]  # operators that are quantised
    options: dict[str, Any]  # of the quantiser


def quantise(model: Path, images: NDArray[np.uint8], out: Path, family: Family) -> Path:
    """Write the Q/DQ graph of a float one with ranges from `images` (K, H, W, 3); weights per channel, signed."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    check_images(images)
    metadata = graph.read_metadata(onnx.load(model)) | {"precision": family.precision}
    with tempfile.TemporaryDirectory() as folder:
        prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
        quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(quantised),
            _Reader(images, onnx.load(prepared).graph.input[0].name),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(family.types),
            per_channel=True,
            activation_type=QuantType.QUInt8 if family.unsigned else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=float_nodes(onnx.load(prepared)),
            extra_options=family.options,
        )
        return graph.write(onnx.load(quantised), out, metadata)


def float_nodes(model: onnx.ModelProto) -> list[str]:
    """Nodes that no family quantises."""
    return [*sensitive.in_front(model), *sensitive.behind(model), *sensitive.not_worth_it(model)]


def check_images(images: NDArray[np.uint8]) -> None:
    """ValueError unless there is something to calibrate on."""
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"calibration: expected uint8 (K, H, W, 3) with K >= 1, got {images.dtype} {images.shape}")


class _Reader:
    """Hands the quantiser one batch a call."""

    def __init__(self, images: NDArray[np.uint8], name: str) -> None:
        self._batches = _batches(images)
        self._name = name

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._name: np.ascontiguousarray(batch)}

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        return iter(self.get_next, None)


def _batches(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]
