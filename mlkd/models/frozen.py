"""The frozen front of a backbone, cut off: its features of an image never change, so they are computed once."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Float16, UInt8
from timm.models import group_parameters
from torch import Tensor, nn

from mlkd.models.folded import fold_batch_norms
from mlkd.models.network import TaggerNet, evaluating

_PROBES = 2  # images that prove the cut
_FAULTS = (RuntimeError, ValueError, TypeError, IndexError, AttributeError)  # of a backbone that is no chain of modules


@dataclass(frozen=True)
class Cut:
    """A tagger with a frozen front, at the first module that is trained.

    Attributes:
        tagger: The whole model.
        boundary: Name of the first module of the backbone that is trained; its input is the features.
        tail: The backbone from there on; it shares every tensor with the tagger.
    """

    tagger: TaggerNet
    boundary: str
    tail: nn.Module

    @torch.no_grad()
    def features(self, images: UInt8[Tensor, "B H W 3"]) -> Float16[Tensor, "B ..."]:
        """Compute what the frozen front gives for images, in eval mode."""
        return _input_of(self._folded.backbone, self.boundary, self._folded.normalise(images)).half()

    @cached_property
    def _folded(self) -> TaggerNet:
        return fold_batch_norms(self.tagger)

    def inputs(self, features: Float16[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Return stored features as the tail reads them."""
        values = features.float()
        return values.contiguous(memory_format=self.tagger.memory_format) if values.ndim == 4 else values

    def key(self) -> str:
        """Hash of all that the features depend on, except the images."""
        digest = hashlib.sha256(f"{self.tagger.backbone_name} {self.tagger.image_px} {self.boundary}".encode())
        in_tail = {id(tensor) for tensor in (*self.tail.parameters(), *self.tail.buffers())}
        state = self.tagger.backbone.state_dict(keep_vars=True).values()
        for tensor in (self.tagger.mean, self.tagger.std, *(t for t in state if id(t) not in in_tail)):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def freeze(tagger: TaggerNet, groups: int) -> None:
    """Freeze the first `groups` stages of the backbone, in timm's grouping; the stem is the first."""
    if not groups:
        return
    matcher: Any = tagger.backbone.group_matcher
    by_group = group_parameters(tagger.backbone, matcher(coarse=True))
    frozen = {name for group, names in by_group.items() if group < groups for name in names}
    for name, parameter in tagger.backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)


def cut(tagger: TaggerNet) -> Cut | None:
    """Cut a tagger behind its frozen front; None if nothing or all is frozen, or the backbone is no chain of modules.

    The modules that run before the first trained one are replaced by ones that pass their input on.  That this gives
    the same outputs, bit for bit, is tried on random images.
    """
    backbone = tagger.backbone
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        return None
    probe = torch.randint(0, 256, (_PROBES, tagger.image_px, tagger.image_px, 3), dtype=torch.uint8)
    inputs = tagger.normalise(probe.to(tagger.mean.device))
    try:
        with torch.no_grad(), evaluating(tagger):
            boundary, front = _front(backbone, inputs)
            if not front:
                return None
            tail = _without(backbone, front)
            features = _input_of(backbone, boundary, inputs)
            return Cut(tagger, boundary, tail) if torch.equal(tail(features), backbone(inputs)) else None
    except _FAULTS:
        return None


class _Reached(Exception):  # noqa: N818  (no error: it ends a forward pass early)
    """The features, on their way out of a forward pass."""

    def __init__(self, features: Tensor) -> None:
        super().__init__("boundary")
        self.features = features


def _front(backbone: nn.Module, inputs: Float[Tensor, "B 3 H W"]) -> tuple[str, list[str]]:
    """Name of the largest module that starts where training does, and the names of those that run before it."""
    order: list[nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda ran, _: order.append(ran)) for module in backbone.modules()]
    try:
        backbone(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    first = next(i for i, module in enumerate(order) if any(p.requires_grad for p in module.parameters(recurse=False)))
    boundary = order[first]
    for module in reversed(order[:first]):  # parents start before their children
        if boundary in module.modules() and all(p.requires_grad for p in module.parameters()):
            boundary = module
    names = {module: name for name, module in backbone.named_modules()}
    before = order[: order.index(boundary)]
    return names[boundary], [names[module] for module in before if boundary not in module.modules()]


def _without(backbone: nn.Module, front: list[str]) -> nn.Module:
    """A copy of the backbone that shares its tensors and whose front modules pass their input on."""
    tail = copy.deepcopy(backbone, {id(tensor): tensor for tensor in (*backbone.parameters(), *backbone.buffers())})
    outermost = [name for name in front if not any(name.startswith(f"{other}.") for other in front)]
    for name in dict.fromkeys(outermost):
        tail.set_submodule(name, nn.Identity())
    return tail


def _input_of(backbone: nn.Module, boundary: str, inputs: Float[Tensor, "B 3 H W"]) -> Tensor:
    def stop(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        raise _Reached(given[0])

    hook = backbone.get_submodule(boundary).register_forward_pre_hook(stop)
    try:
        backbone(inputs)
    except _Reached as reached:
        return reached.features
    finally:
        hook.remove()
    raise RuntimeError(f"backbone: expected its module {boundary} to run, got none of it")
