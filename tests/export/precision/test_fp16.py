"""Half precision inside, full precision where scores come out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.backends import OnnxRuntime
from export.onnx import graph
from export.onnx.to_onnx import to_onnx
from export.precision.fp16 import fp16
from mlkd.core.labels import Labels
from mlkd.models.outputs import Outputs


@pytest.fixture(scope="module")
def halved(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp16(fp32, tmp_path_factory.mktemp("fp16") / "fp16.onnx")


def test_close_to_float(halved: Path, images: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    with OnnxRuntime().open_graph(halved) as session:
        scores = session(images)
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
    """One cast of the image, one to half precision, one back before the last product."""
    casts = [node for node in onnx.load(halved).graph.node if node.op_type == "Cast"]
    assert len(casts) == 3


class Counting(nn.Module):
    """A sum over truth values, which a runtime has only of numbers, and which the converter leaves in float."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.outer = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Outputs:
        values = self.inner(images.float().mean((1, 2)) / 255)
        return Outputs(logits=self.outer(values * (values > 0).cumsum(1, dtype=torch.float32)))


def test_casts_of_the_net_itself_stay(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Counting().eval()
    with torch.no_grad():
        expected = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
    graph_file = to_onnx(tagger, Labels(("a", "b")), images.shape[1], tmp_path / "fp32.onnx", recipe_hash="0")
    with OnnxRuntime().open_graph(fp16(graph_file, tmp_path / "fp16.onnx")) as session:
        assert 0 < np.abs(session(images) - expected).max() < 1e-2
