"""Parameters and multiply-adds against counts made another way."""

from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlkd.models.config import Model
from mlkd.models.cost import cost
from mlkd.models.heads import LabelAttention, LabelDecoder, Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.weights import HubWeights
from pipeline.recipe.find import RECIPES
from pipeline.recipe.schema import load_recipe

SMALL = Model(backbone="test_efficientnet", image_px=64)
PUBLISHED = LabelDecoder(embedding=768, heads=8, feed_forward=2048)
POSITIONS, CHANNELS = 4, 256  # of its last map at 64 px


def by_hooks(module: nn.Module, px: int = 64) -> int:
    """Multiply-adds of convolutions and linear layers for an image: outputs times what each one reads."""
    counted: list[int] = []

    def count(layer: nn.Module, _: Any, result: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        counted.append(result.numel() * prod(weight.shape[1:]))

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        module.eval()(torch.zeros(1, 3, px, px, device="meta"))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def built(model: Model) -> TaggerNet:
    """Without weights, which take long to draw and do not count."""
    with torch.device("meta"):
        return model.build(5)


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small_050", "test_resnet"])
def test_backbone(backbone: str) -> None:
    model = replace(SMALL, backbone=backbone)
    tagger, counted = built(model), cost(model, 5)
    assert counted.backbone_multiply_adds == by_hooks(tagger.backbone)
    assert counted.backbone_parameters == sum(p.numel() for p in tagger.backbone.parameters())
    assert counted.head_parameters == sum(p.numel() for p in tagger.head.parameters())
    assert counted.parameters == counted.backbone_parameters + counted.head_parameters
    assert counted.multiply_adds == counted.backbone_multiply_adds + counted.head_multiply_adds


def test_branches_are_counted_as_the_one_convolution_they_become() -> None:
    model = replace(SMALL, backbone="repvgg_a0", head=Pooled())
    backbone = built(model).backbone
    kernels = {n: p for n, p in backbone.named_parameters() if p.ndim == 4 and p.shape[-1] == 3}
    assert cost(model, 5).backbone_parameters == sum(p.numel() + p.shape[0] for p in kernels.values())  # and a bias


@pytest.mark.parametrize("labels", [5, 80])
def test_label_decoder(labels: int) -> None:
    width, hidden = 32, 48
    head = LabelDecoder(embedding=width, heads=4, feed_forward=hidden)
    tokens = POSITIONS * (CHANNELS * width + 2 * width * width)
    attention = 2 * labels * POSITIONS * width  # scores and weighted means
    behind = labels * (width * width + 2 * width * hidden)
    counted = cost(replace(SMALL, head=head), labels)
    assert counted.head_multiply_adds == tokens + attention + behind, "the queries are the same for every image"


@pytest.mark.parametrize("labels", [5, 80])
def test_label_attention(labels: int) -> None:
    counted = cost(replace(SMALL, head=LabelAttention(embedding=32)), labels)
    assert counted.head_multiply_adds == POSITIONS * CHANNELS * 32 + 2 * POSITIONS * 32 * labels
    assert counted.head_parameters == CHANNELS * 32 + 32 + 2 * 32 * labels + labels


def test_pooled() -> None:
    counted = cost(replace(SMALL, head=Pooled()), 80)
    assert counted.head_multiply_adds == CHANNELS * 80
    assert counted.head_parameters == CHANNELS * 80 + 80


@pytest.mark.slow
def test_swin_attention_is_counted() -> None:
    """Published: 4.5 billion at 224 px, of which the products of attention are 0.1."""
    model = Model(backbone="swin_tiny_patch4_window7_224", image_px=224, head=Pooled())
    linear = by_hooks(built(model).backbone, 224)
    windows = sum(blocks * (56 >> at) ** 2 * 49 * (96 << at) * 2 for at, blocks in enumerate((2, 2, 6, 2)))
    assert cost(model, 5).backbone_multiply_adds == linear + windows
    assert linear + windows == pytest.approx(4.5e9, rel=0.01)


def test_no_weights_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubWeights, "load_into", lambda *_: pytest.fail("read"))
    assert cost(replace(SMALL, weights=HubWeights()), 5) == cost(SMALL, 5)


def test_the_published_head_costs_more_than_a_small_backbone() -> None:
    small = Model(backbone="mobilenetv4_conv_small", image_px=224)
    published, default = (cost(model, 80) for model in (replace(small, head=PUBLISHED), small))
    assert published.head_multiply_adds > published.backbone_multiply_adds
    assert default.head_multiply_adds < 0.1 * default.backbone_multiply_adds
    light = cost(replace(small, head=LabelAttention()), 80)
    assert light.head_multiply_adds < 0.6 * default.head_multiply_adds
    assert light.head_multiply_adds < 0.03 * published.head_multiply_adds


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(path.stem, marks=[pytest.mark.slow] * (path.stem != "scenes")) for path in RECIPES.glob("*.yaml")],
)
def test_a_students_head_costs_less_than_its_backbone(recipe: str) -> None:
    counted = cost(load_recipe(recipe).student.model, 80)
    assert counted.head_multiply_adds < counted.backbone_multiply_adds
