"""Every family of nets, with every head, computes in every runtime what it computes in torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
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
from mlkd.models.heads import Head, LabelAttention, LabelDecoder, Pooled
from mlkd.models.network import TaggerNet
from scripts.zoo_page import NETS
from tests.helpers import nets

DECODER = LabelDecoder(embedding=32, feed_forward=48, learned_queries=True)
HEADS: tuple[Head, ...] = (DECODER, LabelAttention(embedding=24), Pooled())
ONCE = [("test_vit", DECODER), ("test_resnet", LabelAttention(embedding=24))]
FAST = ONCE[1:]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    tagger: TaggerNet
    graph: Path
    images: NDArray[np.uint8]
    scores: NDArray[np.float32]  # torch's


def case(backbone: str, head: Head) -> Any:
    marks = () if (backbone, head) in FAST else pytest.mark.slow
    return pytest.param((backbone, head), id=f"{backbone}-{head.kind}", marks=marks)


HEADS_ONCE = [*(case(*pair) for pair in ONCE), case("test_resnet", Pooled())]
WITH_DECODER = [*HEADS_ONCE, *(case(backbone, DECODER) for backbone in NETS)]
BUILT = [pytest.param(*ONCE[:1], id="test_vit-label_decoder", marks=pytest.mark.slow), *WITH_DECODER[1:]]
ALL = [*WITH_DECODER, *(case(backbone, head) for head in HEADS[1:] for backbone in NETS)]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Head], Case]:
    """Exports a model, once whatever the order of the tests."""

    @lru_cache(len(HEADS_ONCE))
    def export(backbone: str, head: Head) -> Case:
        images = nets.images(32)
        tagger = nets.tagger(backbone, head, images)
        with torch.no_grad():
            scores = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
        graph = tmp_path_factory.mktemp("zoo") / "fp32.onnx"
        return Case(tagger, to_onnx(tagger, nets.LABELS, nets.PX, graph, recipe_hash="0"), images, scores)

    return export


@pytest.fixture
def exported(request: pytest.FixtureRequest, export: Callable[[str, Head], Case]) -> Case:
    return export(*request.param)


@pytest.mark.parametrize("exported", ALL, indirect=True)
def test_agrees_with_torch(exported: Case, tmp_path: Path) -> None:
    assert exported.scores.std(0).min() > 0.05, "images that all score alike would prove nothing"
    for backend in (OnnxRuntime(), OpenVino()):
        for batch, scores in run(backend, exported, tmp_path / backend.kind):
            told = f"{backend.kind}, batch {batch}"
            np.testing.assert_allclose(scores, exported.scores[:batch], rtol=0, atol=TOLERANCE, err_msg=told)


def run(backend: Any, case: Case, folder: Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    with backend.open(backend.compile(case.graph, folder)) as session:
        for batch in (1, 3, 8):  # 8 is more than the labels
            yield batch, session(case.images[:batch])


@pytest.mark.parametrize("exported", BUILT, indirect=True)
def test_tensorrt_takes_it(exported: Case, tmp_path: Path) -> None:
    """Its real parser and builder, for a GPU that is not there; nothing is said of what the engines compute."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    halved = fp16(exported.graph, tmp_path / "fp16.onnx")
    quantized = int8(exported.graph, exported.images, tmp_path / "int8.onnx")
    for graph in (halved, quantized):
        assert TensorRt().compile(graph, tmp_path).stat().st_size > 50_000


@pytest.mark.parametrize("exported", HEADS_ONCE, indirect=True)
def test_only_scores_come_out_of_a_last_product_in_float(exported: Case) -> None:
    """Neither label-wise embeddings nor stage maps are computed for nobody."""
    model = onnx.load(exported.graph)
    read = {name for node in model.graph.node for name in node.input}
    assert [output.name for output in model.graph.output] == ["scores"]
    assert {name for node in model.graph.node for name in node.output if name} - read == {"scores"}
    assert "ReduceSum" not in {node.op_type for node in model.graph.node}
    kept = [node.op_type for node in model.graph.node if node.name in from_last_product(model)]
    assert kept[-1] == "Sigmoid"
    assert {"MatMul", "Gemm"} & set(kept)


@pytest.mark.parametrize("exported", HEADS_ONCE[:1], indirect=True)
def test_the_queries_branch_is_folded(exported: Case) -> None:
    model = onnx.load(exported.graph)
    head = [node for node in model.graph.node if node.name.startswith("head")]
    assert not [node.name for node in head if "query" in node.name]
    products = {node.name.split("/")[0] for node in head if node.op_type in ("MatMul", "Gemm")}
    assert {f"head.project_{name}" for name in ("tokens", "key", "value", "out")} < products
    stored = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for name in ("project_query", "project_key"):
        weight = dict(exported.tagger.head.named_parameters())[f"{name}.weight"].detach().numpy()
        there = any(array.shape == weight.shape and np.array_equal(array, weight.T) for array in stored)
        assert there is (name == "project_key"), "the queries' product is in the file instead of its factors"
