"""The model of a candidate is exported faster than a trained one, to the same graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from export.onnx.to_onnx import to_onnx
from mlkd.core.labels import Labels
from mlkd.models.batch_norms import settle
from mlkd.models.config import Model
from mlkd.models.heads import LabelAttention
from pipeline.search import build

LABELS = Labels(("a", "b", "c"))


def nodes(graph: Path) -> Iterator[tuple[str, list[tuple[str, str]], list[Any]]]:
    """Operator, attributes and shapes of the weights of each node."""
    model = onnx.load(graph).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.initializer}
    for node in model.node:
        values = [(one.name, str(onnx.helper.get_attribute_value(one))) for one in node.attribute]
        yield node.op_type, sorted(values), [shapes.get(name) for name in node.input]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_efficientnet", "repvgg_a0"])
def test_the_graph_is_that_of_a_trained_student(backbone: str, tmp_path: Path) -> None:
    model = Model(backbone=backbone, image_px=64, head=LabelAttention(embedding=8))
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    trained = model.build(3)
    settle(trained, images)  # new batch norms have biases of 0, which the exporter drops
    taggers = {"plain": trained, "fast": build._tagger(model, 3, images)}
    graphs = [
        to_onnx(tagger, LABELS, 64, tmp_path / f"{name}.onnx", recipe_hash="") for name, tagger in taggers.items()
    ]
    plain, fast = (list(nodes(graph)) for graph in graphs)
    assert fast == plain


def test_activations_of_an_untrained_model_neither_vanish_nor_overflow() -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    tagger = build._tagger(Model(backbone="repvgg_a0", image_px=64), 3, images)
    with torch.no_grad():
        features = tagger.backbone(tagger.normalise(torch.from_numpy(images)))
    assert 0.01 < features.std() < 10
