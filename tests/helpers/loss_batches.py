"""Random batches for the tests of the losses: 8 images, 6 labels, student and teacher of different widths."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from mlkd.losses import Bce, ClassAware, InstanceAware, LabelKL, Loss
from mlkd.models.outputs import Outputs

IMAGES, LABELS = 8, 6
MAPS = ((3, 5, 4), (4, 2, 3))  # channels, height, width; shallow first
PARTS = "embeddings", "pooled", "features", "label_maps", "last_map"
LOSSES: list[Loss] = [kind() for kind in get_args(Loss)]
# Yang et al. 2023 at their batch size of 64: their total divided by 64
L2D: tuple[Loss, ...] = (Bce(), LabelKL(weight=10 / 64), ClassAware(weight=100.0), InstanceAware(weight=1000.0))


def name(loss: Loss) -> str:
    return loss.kind


def student(seed: int = 0, dtype: torch.dtype = torch.float64) -> Outputs:
    return _outputs(seed, 5, 7, dtype)


def teacher(seed: int = 1, dtype: torch.dtype = torch.float64) -> Outputs:
    return _outputs(seed, 9, 4, dtype)


def targets(seed: int = 3) -> Tensor:
    return (torch.rand(IMAGES, LABELS, generator=torch.Generator().manual_seed(seed)) < 0.5).double()


def label_mask(seed: int = 4) -> Tensor:
    return torch.rand(IMAGES, LABELS, generator=torch.Generator().manual_seed(seed)) < 0.6


def _outputs(seed: int, embedding: int, pooled: int, dtype: torch.dtype) -> Outputs:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(IMAGES, *shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    maps = tuple(draw(*shape) for shape in MAPS)
    return Outputs(draw(LABELS), draw(LABELS, embedding), draw(pooled), maps, draw(LABELS, 3, 2), draw(4, 3, 2))


def changed(given: Outputs, change: Callable[[Tensor], Tensor], parts: tuple[str, ...] = ()) -> Outputs:
    """The outputs with `change` applied to every tensor, or to those of the named parts; new leaves with gradients."""

    def leaf(values: Tensor) -> Tensor:
        return change(values.detach()).clone().requires_grad_()

    found = {}
    for part in parts or ("logits", *PARTS):
        values = getattr(given, part)
        found[part] = tuple(map(leaf, values)) if part == "features" else leaf(values)
    return replace(given, **found)


def read_by(loss: Loss, given: Outputs) -> tuple[Tensor, ...]:
    """The tensors a loss looks at, by its `needs`; the logits where it names none of the others."""
    for part in PARTS:
        if part in loss.needs:
            values = getattr(given, part)
            return values if part == "features" else (values,)
    return (given.logits,)


def with_read(loss: Loss, given: Outputs, values: tuple[Tensor, ...]) -> Outputs:
    """The outputs with the tensors that `read_by` gives replaced."""
    for part in PARTS:
        if part in loss.needs:
            return replace(given, **{part: values if part == "features" else values[0]})
    return replace(given, logits=values[0])


def gradients(value: Tensor, of: Outputs) -> list[Tensor]:
    """Gradients of every tensor that `value` depends on."""
    assert of.embeddings is not None
    assert of.pooled is not None
    assert of.features is not None
    assert of.label_maps is not None
    assert of.last_map is not None
    leaves = [of.logits, of.embeddings, of.pooled, *of.features, of.label_maps, of.last_map]
    return [g for g in torch.autograd.grad(value, leaves, allow_unused=True) if g is not None]
