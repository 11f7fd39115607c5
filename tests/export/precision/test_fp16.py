"""Half precision inside, full precision where scores come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export import graph
from export.backends import OnnxRuntime
from export.precision.fp16 import fp16


@pytest.fixture(scope="module")
def halved(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp16(fp32, tmp_path_factory.mktemp("fp16") / "fp16.onnx")


def test_close_to_float(halved: Path, pictures: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    with OnnxRuntime().open(halved) as session:
        scores = session(pictures)
    assert 0 < np.abs(scores - expected).max() < 5e-3
    assert len(np.unique(scores)) > 0.95 * len(np.unique(expected)), "scores went through fp16"


def test_every_weight_but_the_last_is_halved(halved: Path, fp32: Path) -> None:
    assert halved.stat().st_size < 0.6 * fp32.stat().st_size
    model = onnx.load(halved)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul") and node.input[1] in types]
    full = [node.name for node in products if types[node.input[1]] == onnx.TensorProto.FLOAT]
    assert full == ["head/MatMul_2"]


def test_metadata(halved: Path, fp32: Path) -> None:
    before, after = (graph.read_metadata(onnx.load(model)) for model in (fp32, halved))
    assert after == before | {"precision": "fp16"}


def test_float_nodes_pass_float_on(halved: Path) -> None:
    """One cast of the picture, one to half precision, one back before the last product."""
    casts = [node for node in onnx.load(halved).graph.node if node.op_type == "Cast"]
    assert len(casts) == 3
