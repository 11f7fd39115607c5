"""Training goes on with a net that rounds: seeds, kills, averages and the float net that comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mlkd import quantised_graph
from mlkd.core.metrics import mean_average_precision
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.fake_quant import Place, Rounded
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model
from mlkd.quantisation_aware import QuantisationAware, QuantisedTagger, float_tagger, learned_ranges
from mlkd.training import evaluate, optim
from mlkd.training.config import Training
from mlkd.training.trainer import train

MODEL = Model(backbone="test_resnet", image_px=24, head=LabelDecoder(embedding=8, heads=2, feed_forward=8))
TRAINING = Training(epochs=2, learning_rate=3e-3, batch_size=8)
PLACES = (
    Place(
        layer="backbone.layer1.0.bn1",
        kind="product",
        index=0,
        inputs=(Rounded(tensor="pooled", low=-4.0, high=4.0),),
        weight=True,
    ),
    Place(
        layer="backbone.layer1.0",
        kind="sum",
        index=0,
        inputs=(Rounded(tensor="branch", low=-3.0, high=3.0), Rounded(tensor="pooled", low=-4.0, high=4.0)),
        weight=False,
    ),
    Place(
        layer="head.project_key",
        kind="product",
        index=0,
        inputs=(Rounded(tensor="tokens", low=-2.0, high=2.0),),
        weight=True,
    ),
)


@pytest.fixture(scope="module")
def start(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start")
    train(MODEL, TRAINING, Views(count=2), prepared, out, seed=0)
    return out


@pytest.fixture(scope="module")
def aware(start: Path) -> QuantisationAware:
    return QuantisationAware(model=MODEL, start=start, places=PLACES)


@pytest.fixture(scope="module")
def trained(aware: QuantisationAware, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(aware, TRAINING, Views(count=2), prepared, out, seed=0)
    return out


def test_starts_from_the_trained_net(aware: QuantisationAware, start: Path) -> None:
    net, first = aware.build(3), checkpoint.load_model(start)
    images = torch.randint(256, (2, 24, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert {name for name, _ in net.ranges.named_parameters()} == {"of_pooled", "of_branch", "of_tokens"}
    for features in (False, True):
        found, expected = net(images, features=features), first(images, features=features)
        torch.testing.assert_close(found.logits, expected.logits, atol=0.1, rtol=0)
        assert not torch.equal(found.logits, expected.logits)
        assert (found.features is None) == (not features)
    assert net.stage_shapes(learning=True) == net.stage_shapes() == first.stage_shapes()


def test_computes_as_in_eval_mode(aware: QuantisationAware) -> None:
    net = aware.build(3)
    images = torch.randint(256, (3, 24, 24, 3), dtype=torch.uint8)
    statistics = net.backbone.bn1.running_mean.clone()
    torch.testing.assert_close(net.train()(images).logits, net.eval()(images).logits)
    assert torch.equal(net.backbone.bn1.running_mean, statistics)


def test_bf16_comes_close(aware: QuantisationAware) -> None:
    net = aware.build(3)
    images = torch.randint(256, (3, 24, 24, 3), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(images).logits
    assert not torch.equal(found.float(), net(images).logits)
    torch.testing.assert_close(found.float(), net(images).logits, atol=0.1, rtol=0)


def test_every_part_learns_at_its_rate(aware: QuantisationAware) -> None:
    net = aware.build(3)
    adam = optim.optimiser(net, torch.nn.ModuleDict(), replace(TRAINING, backbone_scale=0.5))
    rates = {id(one): group["peak"] for group in adam.param_groups for one in group["params"]}
    assert rates[id(net.backbone.conv1[0].weight)] == pytest.approx(1.5e-3)
    assert rates[id(net.head.project_key.weight)] == pytest.approx(3e-3)
    assert [rates[id(one)] for one in net.ranges.parameters()] == pytest.approx([3e-2] * 3)
    assert len(rates) == sum(one.requires_grad for one in net.parameters())


def test_training_moves_weights_and_ranges(aware: QuantisationAware, trained: Path) -> None:
    before, after = aware.build(3).state_dict(), checkpoint.read(trained / checkpoint.BEST)[0]
    assert before.keys() == after.keys()
    for name in ("backbone.layer1.0.conv1.weight", "backbone.layer1.0.bn1.weight", "head.project_key.weight"):
        assert not torch.equal(before[name], after[name]), name
    ranges = learned_ranges(trained)
    assert ranges.keys() == {"pooled", "branch", "tokens"}
    assert all(-low == high for low, high in ranges.values())
    assert ranges["pooled"][1] != pytest.approx(4.0, rel=1e-3)


def test_the_best_epoch_is_measured_with_rounding(aware: QuantisationAware, trained: Path, prepared: Path) -> None:
    select = read_split(prepared, "select")
    net = aware.build(3)
    tensors, facts = checkpoint.read(trained / checkpoint.BEST)
    net.load_state_dict(tensors)
    scores = evaluate.scores(net, select.pixels(24))
    assert mean_average_precision(scores, select.targets) == pytest.approx(facts["select_map"], abs=1e-6)


def test_the_float_net_has_the_learned_weights(aware: QuantisationAware, trained: Path) -> None:
    net, tensors = float_tagger(trained), checkpoint.read(trained / checkpoint.BEST)[0]
    assert not net.training
    assert not isinstance(net, QuantisedTagger)
    assert all(torch.equal(value, tensors[name]) for name, value in net.state_dict().items())


def test_a_killed_run_ends_as_an_uninterrupted_one(
    aware: QuantisationAware, trained: Path, prepared: Path, tmp_path: Path
) -> None:
    train(aware, replace(TRAINING, stop_epoch=1), Views(count=2), prepared, tmp_path, seed=0)
    train(aware, TRAINING, Views(count=2), prepared, tmp_path, seed=0)
    expected = checkpoint.read(trained / checkpoint.LAST)[0]
    for name, value in checkpoint.read(tmp_path / checkpoint.LAST)[0].items():
        np.testing.assert_array_equal(value.numpy(), expected[name].numpy(), err_msg=name)


def test_other_labels_are_refused(aware: QuantisationAware) -> None:
    with pytest.raises(ValueError, match="expected 4 labels as in the data, got 3"):
        aware.build(4)


def test_ranges_of_another_run_are_refused(start: Path) -> None:
    with pytest.raises(ValueError, match="learned ranges: expected a quantisation-aware run"):
        learned_ranges(start)


@pytest.mark.slow
def test_no_tensor_is_made_on_the_device_that_the_net_was_traced_on() -> None:
    """This net makes positions as it runs."""
    tagger = Model(backbone="edgenext_xx_small", image_px=64, head=MODEL.head).build(3).eval()
    graph = quantised_graph.trace(tagger, features=False)
    made = [node for node in graph.nodes if node.kwargs.get("device") is not None]
    assert made
    assert not [node for node in made if isinstance(node.kwargs["device"], torch.device)]
    images = torch.randint(256, (2, 64, 64, 3), dtype=torch.uint8)
    torch.testing.assert_close(QuantisedTagger(tagger, ())(images).logits, tagger(images).logits)
