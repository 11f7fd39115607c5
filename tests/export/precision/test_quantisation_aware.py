"""The net that rounds in torch against the Q/DQ graph in ONNX Runtime, and what training it brings back."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from export.onnx.to_onnx import to_onnx
from export.precision.int8 import FAMILY, int8
from export.precision.places import read_places
from export.precision.qdq import layers, quantise
from export.precision.ranges import calibrate
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model, TaggerNet
from mlkd.quantisation_aware import QuantisedTagger, float_tagger, learned_ranges

LABELS = Labels(("red", "green", "blue", "top", "middle"))
HEAD = LabelDecoder(embedding=32, heads=4, feed_forward=64, dropout=0)
MODEL = Model(backbone="test_resnet", image_px=32, head=HEAD)  # the one of conftest
STEPS = 75
SAME = 0.99  # share of scores that are equal; a value on the edge between two integers may go to either


def scores_of(graph: Path, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ONNX Runtime's, each node as it stands in the graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    scores: NDArray[np.float32] = session.run(None, {"images": pictures})[0]
    return scores


def torch_scores(net: TaggerNet, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.no_grad():
        scores: NDArray[np.float32] = net(torch.from_numpy(pictures)).logits.sigmoid().numpy()
    return scores


@pytest.fixture(scope="module")
def damaged(tagger: TaggerNet) -> TaggerNet:
    """Equal scores, but in six maps one channel is so large that the others lie within a few steps of the tensor."""
    net = copy.deepcopy(tagger)
    modules = dict(net.backbone.named_modules())
    pairs = [("conv1.1", "conv1.3"), ("conv1.4", "conv1.6")]
    pairs += [(f"layer{stage}.0.bn1", f"layer{stage}.0.conv2") for stage in (1, 2, 3, 4)]
    with torch.no_grad():
        for norm, convolution in pairs:
            modules[norm].weight[0] *= 100
            modules[norm].bias[0] *= 100
            modules[convolution].weight[:, 0] /= 100
    return net


@pytest.fixture(scope="module")
def broken(damaged: TaggerNet, calibration: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("damaged")
    return int8(to_onnx(damaged, LABELS, 32, out / "fp32.onnx", recipe_hash="c0ffee"), calibration, out / "int8.onnx")


@pytest.fixture(scope="module")
def tuned(
    damaged: TaggerNet, broken: Path, lessons: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> tuple[QuantisedTagger, Path]:
    """Some steps towards the float net's scores; also as a training run saves it."""
    net = QuantisedTagger(damaged, read_places(onnx.load(broken))).train()
    images, wanted = torch.from_numpy(lessons), torch.from_numpy(torch_scores(damaged, lessons))
    weights = [*net.backbone.parameters(), *net.head.parameters()]
    adam = torch.optim.Adam([{"params": weights}, {"params": net.ranges.parameters(), "lr": 0.05}], lr=3e-4)
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        batch = torch.randint(len(images), (64,), generator=generator)
        loss = binary_cross_entropy_with_logits(net(images[batch]).logits, wanted[batch])
        adam.zero_grad()
        loss.backward()
        for group, peak in zip(adam.param_groups, (3e-4, 0.05), strict=True):
            group["lr"] = peak * (1 - step / STEPS)
        adam.step()
    folder = tmp_path_factory.mktemp("tuned")
    checkpoint.save_model(folder / checkpoint.BEST, net.state_dict(), MODEL, LABELS, {})
    return net, folder


def test_the_net_rounds_as_the_graph(
    tagger: TaggerNet, fp32: Path, calibration: NDArray[np.uint8], pictures: NDArray[np.uint8], tmp_path: Path
) -> None:
    graph = int8(fp32, calibration, tmp_path / "int8.onnx", keep_float=["backbone.layer1.0.bn1/Conv_0"])
    net = QuantisedTagger(tagger, read_places(onnx.load(graph)))
    expected, found = scores_of(graph, pictures), torch_scores(net, pictures)
    assert (np.abs(found - expected) < 1e-4).mean() > SAME
    assert np.abs(found - torch_scores(tagger, pictures)).mean() > 20 * np.abs(found - expected).mean()


def test_training_brings_a_broken_net_back(
    damaged: TaggerNet,
    broken: Path,
    tuned: tuple[QuantisedTagger, Path],
    calibration: NDArray[np.uint8],
    pictures: NDArray[np.uint8],
    targets: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    in_float = mean_average_precision(torch_scores(damaged, pictures), targets)
    before = mean_average_precision(scores_of(broken, pictures), targets)
    net, folder = tuned
    model = to_onnx(float_tagger(folder), LABELS, 32, tmp_path / "fp32.onnx", recipe_hash="c0ffee")
    learned = learned_ranges(folder)
    made = quantise(model, {**calibrate(model, calibration, "min_max"), **learned}, tmp_path / "int8.onnx", FAMILY)
    scores = scores_of(made, pictures)
    assert before < in_float - 0.05
    assert mean_average_precision(scores, targets) > in_float - 0.01

    rounded = {one.tensor: one.high for place in read_places(onnx.load(made)) for one in place.inputs if one}
    assert rounded == pytest.approx({tensor: high for tensor, (_, high) in learned.items()}, rel=1e-5)
    found = torch_scores(net, pictures)
    assert (np.abs(found - scores) < 1e-4).mean() > SAME
    assert ((found > 0.5) != (scores > 0.5)).mean() < 2e-3


def test_a_place_that_the_net_lacks_is_named(tagger: TaggerNet, broken: Path) -> None:
    place = replace(read_places(onnx.load(broken))[0], layer="backbone.layer9", index=2)
    with pytest.raises(ValueError, match=r"got no product 2 of backbone\.layer9"):
        QuantisedTagger(tagger, [place])


FAMILIES = (
    "resnet18",
    "repvgg_a0",
    "mobilenetv3_small_100",
    "mobilenetv4_conv_small",
    "tf_efficientnet_lite0",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "efficientvit_b0",
)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_family_rounds_as_its_graph(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Model(backbone=backbone, image_px=64, head=LabelDecoder(embedding=32)).build(len(LABELS)).train()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)  # some nets start with branches that give nothing
    random = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
    pictures = random.repeat(8, 1).repeat(8, 2)
    with torch.no_grad():
        for _ in range(10):  # statistics for batch norms
            net(torch.from_numpy(pictures))
    fp32 = to_onnx(net.eval(), LABELS, 64, tmp_path / "fp32.onnx", recipe_hash="c0ffee")
    # Swin's norms hand one flipped integer on to all channels; after some blocks with random weights nothing is equal.
    deep = [name for name in layers(fp32) if backbone.startswith("swin") and not name.startswith("backbone.layers.0")]
    graph = int8(fp32, pictures, tmp_path / "int8.onnx", keep_float=deep)
    rounding = QuantisedTagger(net, read_places(onnx.load(graph)))
    expected, found = scores_of(graph, pictures), torch_scores(rounding, pictures)
    by_rounding = np.abs(expected - torch_scores(net, pictures)).mean()
    # In deep nets with random weights one value on an edge changes a picture's scores; a wrong place changes all.
    assert np.quantile(np.abs(found - expected).max(1), 0.25) < by_rounding / 50

    whole = int8(fp32, pictures, tmp_path / "whole.onnx")
    rounding = QuantisedTagger(net, read_places(onnx.load(whole))).train()
    rounding(torch.from_numpy(pictures[:8]), features=True).logits.square().mean().backward()
    gradients = {name: one.grad for name, one in rounding.named_parameters() if one.requires_grad}
    assert all(one is not None and one.isfinite().all() for one in gradients.values())
    assert all(one is not None and one.any() for name, one in gradients.items() if name.startswith("ranges."))
