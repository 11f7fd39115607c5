"""Pad nodes in front of convolutions become the convolutions' own padding; all others stay and compute the same."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from timm.layers import Conv2dSame
from torch import Tensor, nn

from export.onnx.padding import pads_into_convolutions
from export.onnx.to_onnx import to_onnx
from mlkd.core.labels import Labels
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
from mlkd.models.outputs import Outputs


def padded(pads: list[int], *, mode: str = "constant", filling: float = 0.0, own: int = 0) -> ModelProto:
    """A Pad in front of a 3x3 convolution of stride 2 over (1, 2, 6, 6)."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Pad", ["x", "pads", "filling"] if mode == "constant" else ["x", "pads"], ["p"], mode=mode),
        helper.make_node("Conv", ["p", "w"], ["y"], strides=[2, 2], pads=[own] * 4),
    ]
    constants = [
        numpy_helper.from_array(np.array(pads), "pads"),
        numpy_helper.from_array(np.array(filling, np.float32), "filling"),
        numpy_helper.from_array(rng.normal(size=(3, 2, 3, 3)).astype(np.float32), "w"),
    ]
    graph = helper.make_graph(
        nodes,
        "padded",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.random.default_rng(1).normal(size=(1, 2, 6, 6)).astype(np.float32)})[0]


@pytest.mark.parametrize("own", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 2, 1, 0, 0, 0, 3]])
def test_zeros_round_the_map_become_the_convolutions_padding(pads: list[int], own: int) -> None:
    model = padded(pads, own=own)
    before = run(model)
    pads_into_convolutions(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_array_equal(run(model), before)


@pytest.mark.parametrize(
    "model",
    [
        padded([0, 0, 0, 0, 0, 0, 1, 1], filling=1.0),
        padded([0, 0, 1, 1, 0, 0, 1, 1], mode="reflect"),
        padded([0, 0, -1, 0, 0, 0, 1, 1]),
        padded([1, 0, 0, 0, 0, 0, 1, 1]),
    ],
    ids=["ones", "reflect", "crop", "batch"],
)
def test_other_pads_stay(model: ModelProto) -> None:
    before = run(model)
    pads_into_convolutions(model)
    assert [node.op_type for node in model.graph.node] == ["Pad", "Conv"]
    np.testing.assert_array_equal(run(model), before)


def test_a_map_that_others_read_too_keeps_its_pad() -> None:
    model = padded([0, 0, 0, 0, 0, 0, 1, 1])
    model.graph.node.append(helper.make_node("Relu", ["p"], ["r"]))
    model.graph.output.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    pads_into_convolutions(model)
    assert "Pad" in [node.op_type for node in model.graph.node]
    run(model)


class Same(nn.Module):
    """Two of timm's convolutions with TensorFlow's padding, of the kinds that its mobile backbones have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Conv2dSame(3, 4, 3, stride=2), Conv2dSame(4, 4, 5, stride=2, groups=4)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Outputs:
        features = self.second(self.first(images.float().permute(0, 3, 1, 2) / 255).relu())
        return Outputs(logits=self.head(features.mean((2, 3))))


def tagger_of(backbone: str, px: int) -> nn.Module:
    return Same() if backbone == "two layers" else Model(backbone=backbone, image_px=px, head=Pooled()).build(3)


@pytest.mark.parametrize(
    ("backbone", "px"),
    [
        ("two layers", 75),  # and 38 px in front of the second
        *(pytest.param("tf_efficientnet_lite0", px, marks=pytest.mark.slow) for px in (64, 75)),
    ],
)
def test_same_padding_leaves_no_pad_and_computes_what_torch_computes(backbone: str, px: int, tmp_path: Path) -> None:
    """At even and odd sides; TensorFlow pads 0 before and 1 after where a side is even."""
    torch.manual_seed(0)
    tagger = tagger_of(backbone, px).eval()
    file = to_onnx(tagger, Labels(("a", "b", "c")), px, tmp_path / "same.onnx", recipe_hash="c0ffee")
    kinds = [node.op_type for node in onnx.load(file).graph.node]
    assert "Pad" not in kinds
    images = np.random.default_rng(0).integers(0, 256, (3, px, px, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, rtol=0, atol=1e-5)
