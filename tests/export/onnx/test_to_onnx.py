"""The exported file: what it computes, what is in it, and that it is always the same."""

import copy
import gc
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
from mlkd.models.config import Model
from mlkd.models.heads import Pooled
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
def test_a_truncated_backbone(images: NDArray[np.uint8], tmp_path: Path) -> None:
    torch.manual_seed(0)
    tagger = Model(backbone="test_resnet", image_px=PX, stages=3, head=Pooled()).build(len(LABELS)).eval()
    graph_file = to_onnx(tagger, LABELS, PX, tmp_path / "truncated.onnx", recipe_hash="c0ffee")
    with torch.no_grad():
        expected = tagger(torch.from_numpy(images[:8])).logits.sigmoid().numpy()
    np.testing.assert_allclose(run(graph_file, images[:8]), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_another_process_gives_equal_bytes(fp32: Path, tagger: TaggerNet, tmp_path: Path) -> None:
    torch.save(tagger.state_dict(), tmp_path / "weights.pt")
    program = """
import sys, torch
from pathlib import Path
from export.onnx.to_onnx import to_onnx
from mlkd.core.labels import Labels
from mlkd.models.config import Model
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


def test_sums_before_a_bias_and_expanded_queries_are_rewritten(fp32: Path) -> None:
    assert not {"ReduceSum", "Expand"} & {node.op_type for node in onnx.load(fp32).graph.node}


class Peculiar(nn.Module):
    """A branch for every other rewrite: each would move the logits if the graph computed it wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.block = RepVggBlock(3, 6, stride=2)  # trains with three branches
        self.pool = nn.MaxPool2d(2, stride=1)
        self.positions = PositionalEncodingFourier(dim=3)
        self.token = nn.Parameter(torch.randn(1, 1, 3))
        self.factor = nn.Parameter(torch.randn(1, 3, 4))
        self.head = nn.Linear(15, len(LABELS))

    def forward(self, images: Tensor) -> Outputs:
        values = images.float().permute(0, 3, 1, 2) / 255
        corner = values[:, :, :4, :4]
        pooled = self.pool(nn.functional.pad(corner - 2, (0, 1, 0, 1)))  # a maximum over negative values and zeros
        placed = (corner * self.positions((len(images), 4, 4))).mean((2, 3))
        factor = self.factor.expand(len(images), -1, -1).reshape(-1, 3, 4).transpose(1, 2)  # the same for all images
        tokens = torch.cat((self.token.expand(len(images), -1, -1), corner[..., 0].transpose(1, 2) * factor), 1)
        parts = (self.block(values).mean((2, 3)), pooled[:, :, -1, -1] + pooled.mean((2, 3)), placed, tokens.mean(1))
        return Outputs(logits=self.head(torch.cat(parts, 1)))


@pytest.fixture(scope="module")
def peculiar(images: NDArray[np.uint8]) -> Peculiar:
    torch.manual_seed(0)
    module = Peculiar()
    with torch.no_grad():
        module(torch.from_numpy(images))  # statistics that make the branches differ
    return module


@pytest.fixture(scope="module")
def before(peculiar: Peculiar) -> dict[str, Tensor]:
    """Its tensors before the export."""
    return {name: value.clone() for name, value in peculiar.state_dict().items()}


@pytest.fixture(scope="module")
def rewritten(peculiar: Peculiar, before: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_onnx(peculiar, LABELS, PX, tmp_path_factory.mktemp("peculiar") / "a.onnx", recipe_hash="0")


@pytest.mark.parametrize("batch", [1, 3])
def test_rewritten_nodes_compute_what_torch_computes(
    peculiar: Peculiar, rewritten: Path, images: NDArray[np.uint8], batch: int
) -> None:
    with torch.no_grad():
        wanted = copy.deepcopy(peculiar).eval()(torch.from_numpy(images[:batch])).logits.sigmoid().numpy()
    np.testing.assert_allclose(run(rewritten, images[:batch]), wanted, rtol=0, atol=1e-5)


def test_branches_are_fused_positions_are_constants_and_only_what_broadcasts_is_not_expanded(rewritten: Path) -> None:
    kinds = Counter(node.op_type for node in onnx.load(rewritten).graph.node)
    assert (kinds["Conv"], kinds["Pad"], kinds["MaxPool"]) == (1, 1, 1)
    assert not {"Sin", "Cos", "CumSum"} & kinds.keys()
    assert kinds["Expand"] == 1, "of the token in front of every image's; the factor is broadcast"


@pytest.mark.usefixtures("rewritten")
def test_the_tagger_stays_as_it_is(peculiar: Peculiar, before: dict[str, Tensor]) -> None:
    assert before.keys() == peculiar.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in peculiar.state_dict().items())
    assert all(parameter.requires_grad for parameter in peculiar.parameters())
    assert isinstance(peculiar.positions, PositionalEncodingFourier)
    assert gc.isenabled()


@pytest.mark.slow
def test_another_export_gives_equal_bytes(peculiar: Peculiar, rewritten: Path, tmp_path: Path) -> None:
    again = to_onnx(peculiar, LABELS, PX, tmp_path / "again.onnx", recipe_hash="0")
    assert again.read_bytes() == rewritten.read_bytes()


@pytest.mark.parametrize(
    ("mean", "values"), [((0.5, 0.5, 0.5), 1), pytest.param((0.5, 0.4, 0.3), 3, marks=pytest.mark.slow)]
)
def test_equal_channels_are_normalized_by_one_value_and_others_behind_the_transpose(
    mean: tuple[float, float, float], values: int, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Three values as the last axis take runtimes ten times as long."""
    torch.manual_seed(0)
    tagger = Model(backbone="test_resnet", image_px=PX, head=Pooled()).build(len(LABELS)).eval()
    tagger.mean.copy_(torch.tensor(mean) * 255)
    tagger.std.fill_(64.0)
    file = to_onnx(tagger, LABELS, PX, tmp_path / "graph.onnx", recipe_hash="c0ffee")
    model = onnx.load(file)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    first = model.graph.node[:4]
    assert [node.op_type for node in first] == ["Cast", "Transpose", "Sub", "Div"]
    assert [sizes[node.input[1]] for node in first[2:]] == [values, 1]
    assert tagger.mean.shape == (3,)
    with torch.no_grad():
        expected = tagger(torch.from_numpy(images[:8])).logits.sigmoid().numpy()
    np.testing.assert_allclose(run(file, images[:8]), expected, rtol=0, atol=1e-5)


def test_other_number_of_labels(tagger: TaggerNet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected 2 labels as in the list, got 5"):
        to_onnx(tagger, Labels(("cat", "dog")), PX, tmp_path / "no.onnx", recipe_hash="0")
    assert not (tmp_path / "no.onnx").exists()
