"""One net of each family through TensorRT's real parser and builder: that it takes the graph, not how fast it runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from export.backends import TensorRt, stamp
from export.onnx.to_onnx import to_onnx
from export.precision.fp16 import fp16
from export.precision.int8 import int8
from mlkd.core.labels import Labels
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model
from mlkd.models.weights import RandomWeights
from pipeline.recipe.reader import build, read_yaml

pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX has wheels for x86-64 Linux only")

LABELS = Labels(tuple(f"label {index}" for index in range(30)))
RECIPE = Path(__file__).parents[3] / "pipeline/recipe/recipes/scenes.yaml"
NAMES = Path(__file__).with_name("tensorrt_names.json")
FAMILIES = [
    ("resnet18", 64),
    ("repvgg_a0", 64),
    ("mobilenetv3_small_100", 64),
    ("mobilenetv4_conv_small", 64),
    ("efficientnet_b0", 64),
    ("convnext_atto", 64),
    ("swin_tiny_patch4_window7_224", 224),
]


@pytest.mark.slow
def test_the_default_student(tmp_path: Path) -> None:
    model = build(Model, read_yaml(RECIPE)["student"]["model"], RECIPE)
    assert isinstance(model.head, LabelDecoder)
    builds_in_every_precision(dataclasses.replace(model, weights=RandomWeights()), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "image_px"), FAMILIES)
def test_a_family(backbone: str, image_px: int, tmp_path: Path) -> None:
    head = LabelDecoder(embedding=128, feed_forward=256)
    builds_in_every_precision(Model(backbone=backbone, image_px=image_px, head=head), tmp_path)


def builds_in_every_precision(model: Model, folder: Path) -> None:
    torch.manual_seed(0)
    px = model.image_px
    fp32 = to_onnx(model.build(len(LABELS)).eval(), LABELS, px, folder / "fp32.onnx", recipe_hash="c0ffee")
    images = np.random.default_rng(0).integers(0, 256, (16, px, px, 3), dtype=np.uint8)
    graphs = [fp32, fp16(fp32, folder / "fp16.onnx"), int8(fp32, images, folder / "int8.onnx")]
    documented = set(json.loads(NAMES.read_text(encoding="utf-8"))["operators of onnx-tensorrt 10.1"].split())
    for graph in graphs:
        assert {node.op_type for node in onnx.load(graph).graph.node} <= documented, "for a Jetson, see the names' test"
        plan = TensorRt(compute_capability="SM86").compile(graph, folder)
        assert plan.read_bytes()[1:4] == b"trt"
        assert stamp.read(plan).precision == graph.stem
    assert len(list(folder.glob("*.plan"))) == len(graphs)
