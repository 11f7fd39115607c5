"""The exported file: what it computes, what is in it, and that it is always the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from timm.models.byobnet import RepVggBlock
from timm.models.edgenext import PositionalEncodingFourier
from torch import Tensor, nn

from export.onnx import graph
from export.onnx.to_onnx import to_onnx
from mlkd.core.labels import Labels
from mlkd.models.network import TaggerNet
from mlkd.models.outputs import Outputs

LABELS = Labels(("red", "green", "blue", "top", "middle"))
PX = 32


def run(model: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    scores: NDArray[np.float32] = session.run(["scores"], {"images": images})[0]
    return scores


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_computes_what_torch_computes(
    fp32: Path, images: NDArray[np.uint8], expected: NDArray[np.float32], batch: int
) -> None:
    np.testing.assert_allclose(run(fp32, images[:batch]), expected[:batch], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_another_process_gives_equal_bytes(fp32: Path, tagger: TaggerNet, tmp_path: Path) -> None:
    torch.save(tagger.state_dict(), tmp_path / "weights.pt")
    program = """
import sys, torch
from pathlib import Path
from export.onnx.to_onnx import to_onnx
from mlkd.core.labels import Labels
from mlkd.models.network import Model
from mlkd.models.heads import LabelDecoder
labels = Labels(tuple(sys.argv[3:]))
head = LabelDecoder(embedding=32, heads=4, feed_forward=64)
tagger = Model(backbone="test_resnet", image_px=32, head=head).build(len(labels), pretrained=False)
tagger.load_state_dict(torch.load(sys.argv[1], weights_only=True))
to_onnx(tagger, labels, 32, Path(sys.argv[2]), recipe_hash="c0ffee")
"""
    out = tmp_path / "elsewhere" / "other.onnx"
    arguments = [sys.executable, "-c", program, tmp_path / "weights.pt", out, *LABELS.names]
    ended = subprocess.run(arguments, check=False, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert hashlib.sha256(out.read_bytes()).hexdigest() == hashlib.sha256(fp32.read_bytes()).hexdigest()


def test_metadata(fp32: Path) -> None:
    metadata = graph.read_metadata(onnx.load(fp32))
    assert json.loads(metadata.pop("labels")) == list(LABELS.names)
    assert metadata == {"image_px": "32", "recipe": "c0ffee", "precision": "fp32"}


def test_interface(fp32: Path) -> None:
    model = onnx.load(fp32)
    (images,), (scores,) = model.graph.input, model.graph.output
    sides = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert (images.name, images.type.tensor_type.elem_type, sides) == (
        "images",
        onnx.TensorProto.UINT8,
        ["batch", PX, PX, 3],
    )
    assert (scores.name, scores.type.tensor_type.elem_type) == ("scores", onnx.TensorProto.FLOAT)
    assert [node.op_type for node in model.graph.node if "images" in node.input] == ["Cast"]
    assert model.graph.node[0].op_type == "Cast"
    assert graph.opset(model) >= 18


def test_holds_nothing_of_the_machine(fp32: Path) -> None:
    content = fp32.read_bytes()
    for trace in (b".py", b"File ", b"site-packages", str(Path(__file__).parents[3]).encode(), b"stack_trace", b"/tmp"):
        assert trace not in content, trace
    model = onnx.load(fp32)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    assert "head.project_key/MatMul_0" in {node.name for node in model.graph.node}


def test_nothing_is_computed_from_constants_alone(fp32: Path) -> None:
    model = onnx.load(fp32)
    constants = {tensor.name for tensor in model.graph.initializer}
    assert [node.name for node in model.graph.node if set(node.input) <= constants] == []
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["LayerNormalization"] == 2, "the one of the queries depends on no image"


def test_no_sum_over_the_last_axis_before_a_bias(fp32: Path) -> None:
    assert "ReduceSum" not in {node.op_type for node in onnx.load(fp32).graph.node}


class Branched(nn.Module):
    """A backbone whose blocks train with three branches."""

    def __init__(self) -> None:
        super().__init__()
        self.block = RepVggBlock(3, 6, stride=2)
        self.head = nn.Linear(6, len(LABELS))

    def forward(self, images: Tensor) -> Outputs:
        return Outputs(logits=self.head(self.block(images.float().permute(0, 3, 1, 2) / 255).mean((2, 3))))


def test_branches_are_fused_in_the_file_only_and_each_time_alike(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Branched()
    with torch.no_grad():
        tagger(torch.from_numpy(images))  # statistics that make the branches differ
    before = {name: value.clone() for name, value in tagger.state_dict().items()}
    model = to_onnx(tagger, LABELS, PX, tmp_path / "branched.onnx", recipe_hash="0")
    assert Counter(node.op_type for node in onnx.load(model).graph.node)["Conv"] == 1
    with torch.no_grad():
        wanted = tagger.eval()(torch.from_numpy(images[:4])).logits.sigmoid().numpy()
    np.testing.assert_allclose(run(model, images[:4]), wanted, rtol=0, atol=1e-5)
    again = to_onnx(tagger, LABELS, PX, tmp_path / "again.onnx", recipe_hash="0")
    assert again.read_bytes() == model.read_bytes()
    assert all(torch.equal(value, before[name]) for name, value in tagger.state_dict().items())


class Pooling(nn.Module):
    """A maximum over negative values with zeros round them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, stride=1)
        self.head = nn.Linear(3, len(LABELS))

    def forward(self, images: Tensor) -> Outputs:
        values = images.float().permute(0, 3, 1, 2)[:, :, :4, :4] / 255 - 2
        pooled = self.pool(nn.functional.pad(values, (0, 1, 0, 1)))
        return Outputs(logits=self.head(pooled[:, :, -1, -1] + pooled.mean((2, 3))))


def test_zeros_round_a_maximum_count(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Pooling().eval()
    with torch.no_grad():
        wanted = tagger(torch.from_numpy(images[:4])).logits.sigmoid().numpy()
    model = to_onnx(tagger, LABELS, PX, tmp_path / "pooling.onnx", recipe_hash="0")
    assert {"Pad", "MaxPool"} <= {node.op_type for node in onnx.load(model).graph.node}
    np.testing.assert_allclose(run(model, images[:4]), wanted, rtol=0, atol=1e-5)


class Placed(nn.Module):
    """A tiny net that adds EdgeNeXt's position codes to every image."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = PositionalEncodingFourier(dim=3)
        self.head = nn.Linear(3, len(LABELS))

    def forward(self, images: Tensor) -> Outputs:
        values = images.float().permute(0, 3, 1, 2)[:, :, :4, :4] / 255
        return Outputs(logits=self.head((values * self.positions((len(images), 4, 4))).mean((2, 3))))


def test_positions_are_constants(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Placed().eval()
    with torch.no_grad():
        wanted = tagger(torch.from_numpy(images[:3])).logits.sigmoid().numpy()
    model = to_onnx(tagger, LABELS, PX, tmp_path / "placed.onnx", recipe_hash="0")
    assert not {"Sin", "Cos", "CumSum", "Expand"} & {node.op_type for node in onnx.load(model).graph.node}
    np.testing.assert_allclose(run(model, images[:3]), wanted, rtol=0, atol=1e-5)
    assert isinstance(tagger.positions, PositionalEncodingFourier), "the tagger stays as it is"


class Prepended(nn.Module):
    """A learnt token in front of every image's, as in a ViT, and a learnt factor for all."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 3))
        self.factor = nn.Parameter(torch.randn(1, 3, 4))
        self.head = nn.Linear(3, len(LABELS))

    def forward(self, images: Tensor) -> Outputs:
        values = images.float()[:, :4, 0] / 255
        factor = self.factor.expand(len(images), -1, -1).reshape(-1, 3, 4).transpose(1, 2)
        tokens = torch.cat((self.token.expand(len(images), -1, -1), values * factor), 1)
        return Outputs(logits=self.head(tokens.mean(1)))


@pytest.mark.parametrize("batch", [1, 3])
def test_only_what_broadcasts_is_not_expanded(images: NDArray[np.uint8], batch: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Prepended().eval()
    with torch.no_grad():
        wanted = tagger(torch.from_numpy(images[:batch])).logits.sigmoid().numpy()
    model = to_onnx(tagger, LABELS, PX, tmp_path / "prepended.onnx", recipe_hash="0")
    assert Counter(node.op_type for node in onnx.load(model).graph.node)["Expand"] == 1
    np.testing.assert_allclose(run(model, images[:batch]), wanted, rtol=0, atol=1e-5)


def test_queries_are_not_expanded(fp32: Path) -> None:
    assert "Expand" not in {node.op_type for node in onnx.load(fp32).graph.node}


def test_other_number_of_labels(tagger: TaggerNet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected 2 labels as in the list, got 5"):
        to_onnx(tagger, Labels(("cat", "dog")), PX, tmp_path / "no.onnx", recipe_hash="0")
    assert not (tmp_path / "no.onnx").exists()
