"""Every head computes in every runtime what it computes in torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from export.backends import OnnxRuntime, OpenVino, TensorRt
from export.onnx.to_onnx import to_onnx
from export.precision.always_float import from_last_product
from export.precision.fp16 import fp16
from export.precision.int8 import int8
from mlkd.core.labels import Labels
from mlkd.models.heads import LabelAttention, LabelDecoder, Pooled
from mlkd.models.network import Model, TaggerNet

PX = 64  # four positions: with one, attention has nothing to choose from
LABELS = Labels(("red", "green", "blue", "top", "middle"))
HEADS = [
    pytest.param(LabelDecoder(embedding=32, feed_forward=48, learned_queries=True), id="label_decoder"),
    pytest.param(LabelAttention(embedding=24), id="label_attention"),
    pytest.param(Pooled(), id="pooled"),
]


@pytest.fixture(scope="module", params=HEADS)
def tagger(request: pytest.FixtureRequest, images: NDArray[np.uint8]) -> TaggerNet:
    torch.manual_seed(0)
    module = Model(backbone="test_resnet", image_px=PX, head=request.param).build(len(LABELS)).eval()
    norms = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # statistics of these images: with those of a new net, all look alike to it
        norm.train()
    with torch.no_grad():
        module(torch.from_numpy(images))
    module.eval()
    torch.nn.init.normal_(module.head.label_bias)  # all alike, they would hide a sum with the wrong one
    return module


@pytest.fixture(scope="module")
def graph(tagger: TaggerNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_onnx(tagger, LABELS, PX, tmp_path_factory.mktemp("heads") / "fp32.onnx", recipe_hash="0")


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """(16, PX, PX, 3): noise of 8 x 8 patches, so that positions differ."""
    patches = np.random.default_rng(0).integers(0, 256, (16, PX // 8, PX // 8, 3), dtype=np.uint8)
    return patches.repeat(8, 1).repeat(8, 2)


def run(backend: Any, graph: Path, images: NDArray[np.uint8], folder: Path) -> Iterator[NDArray[np.float32]]:
    with backend.open(backend.compile(graph, folder)) as session:
        for batch in (1, 2, 7):  # 7 is more than the labels
            yield session(images[:batch])


@pytest.mark.parametrize("backend", [OnnxRuntime(), OpenVino()], ids=lambda backend: backend.kind)
def test_agrees_with_torch(
    tagger: TaggerNet, graph: Path, images: NDArray[np.uint8], backend: Any, tmp_path: Path
) -> None:
    with torch.no_grad():
        expected = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
    assert expected.std(0).min() > 1e-3, "images that all score alike would prove nothing"
    for scores in run(backend, graph, images, tmp_path):
        np.testing.assert_allclose(scores, expected[: len(scores)], rtol=0, atol=1e-5)


def test_tensorrt_builds_it(graph: Path, images: NDArray[np.uint8], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    for made in (fp16(graph, tmp_path / "fp16.onnx"), int8(graph, images, tmp_path / "int8.onnx")):
        assert TensorRt().compile(made, tmp_path).stat().st_size > 50_000


def test_the_last_product_and_what_follows_stay_in_float(graph: Path) -> None:
    model = onnx.load(graph)
    kept = [node.op_type for node in model.graph.node if node.name in from_last_product(model)]
    assert kept[-1] == "Sigmoid"
    assert {"MatMul", "Gemm"} & set(kept)


def test_only_scores_come_out(graph: Path) -> None:
    """Neither label-wise embeddings nor stage maps are computed for nobody."""
    model = onnx.load(graph)
    read = {name for node in model.graph.node for name in node.input}
    assert [output.name for output in model.graph.output] == ["scores"]
    assert {name for node in model.graph.node for name in node.output if name} - read == {"scores"}
    assert "ReduceSum" not in {node.op_type for node in model.graph.node}


def test_the_queries_branch_is_folded(tagger: TaggerNet, graph: Path) -> None:
    if not hasattr(tagger.head, "project_query"):
        pytest.skip("only a decoder has queries")
    model = onnx.load(graph)
    head = [node for node in model.graph.node if node.name.startswith("head")]
    assert not [node.name for node in head if "query" in node.name]
    products = {node.name.split("/")[0] for node in head if node.op_type in ("MatMul", "Gemm")}
    assert {f"head.project_{name}" for name in ("tokens", "key", "value", "out")} < products
    stored = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for name in ("project_query", "project_key"):
        weight = dict(tagger.head.named_parameters())[f"{name}.weight"].detach().numpy()
        there = any(array.shape == weight.shape and np.array_equal(array, weight.T) for array in stored)
        assert there is (name == "project_key"), "the queries' product is in the file instead of its factors"
