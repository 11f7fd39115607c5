"""Every family of nets, with every head, computes in every runtime what it computes in torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.backends import OnnxRuntime, OpenVino, TensorRt
from export.onnx.to_onnx import to_onnx
from export.precision.fp16 import fp16
from export.precision.int8 import int8
from mlkd.models.heads import Head, LabelAttention, LabelDecoder, Pooled
from scripts.zoo_page import NETS
from tests.helpers import nets

HEADS: tuple[Head, ...] = (LabelDecoder(embedding=32, feed_forward=48), LabelAttention(embedding=24), Pooled())
FAST = ("test_byobnet", "test_vit")
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    graph: Path
    images: NDArray[np.uint8]
    scores: NDArray[np.float32]  # torch's


def case(backbone: str, head: Head) -> Any:
    fast = backbone in FAST and head is HEADS[0]
    return pytest.param((backbone, head), id=f"{backbone}-{head.kind}", marks=() if fast else pytest.mark.slow)


WITH_DECODER = [case(backbone, HEADS[0]) for backbone in dict.fromkeys((*FAST, *NETS))]
ALL = [*WITH_DECODER, *(case(backbone, head) for head in HEADS[1:] for backbone in NETS)]


@pytest.fixture(scope="module")
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    backbone, head = request.param
    images = nets.images(32)
    tagger = nets.tagger(backbone, head, images)
    with torch.no_grad():
        scores = tagger(torch.from_numpy(images)).logits.sigmoid().numpy()
    folder = tmp_path_factory.mktemp("zoo")
    return Case(to_onnx(tagger, nets.LABELS, nets.PX, folder / "fp32.onnx", recipe_hash="0"), images, scores)


@pytest.mark.parametrize("exported", ALL, indirect=True)
def test_agrees_with_torch(exported: Case, tmp_path: Path) -> None:
    assert exported.scores.std(0).min() > 0.05, "images that all score alike would prove nothing"
    for backend in (OnnxRuntime(), OpenVino()):
        for batch, scores in run(backend, exported, tmp_path / backend.kind):
            told = f"{backend.kind}, batch {batch}"
            np.testing.assert_allclose(scores, exported.scores[:batch], rtol=0, atol=TOLERANCE, err_msg=told)


def run(backend: Any, case: Case, folder: Path) -> Iterator[tuple[int, NDArray[np.float32]]]:
    with backend.open(backend.compile(case.graph, folder)) as session:
        for batch in (1, 3, 8):
            yield batch, session(case.images[:batch])


@pytest.mark.slow
@pytest.mark.parametrize("exported", WITH_DECODER, indirect=True)
def test_tensorrt_takes_it(exported: Case, tmp_path: Path) -> None:
    """Its real parser and builder, for a GPU that is not there; nothing is said of what the engines compute."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")
    halved = fp16(exported.graph, tmp_path / "fp16.onnx")
    quantized = int8(exported.graph, exported.images, tmp_path / "int8.onnx")
    for graph in (exported.graph, halved, quantized):
        assert TensorRt().compile(graph, tmp_path).stat().st_size > 50_000
