"""Rounding to int8 and back while training: ranges of activations are learned, those of weights follow the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

LOWEST, HIGHEST = -128, 127  # where ONNX's QuantizeLinear saturates; a range ends at HIGHEST steps on both sides


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """An activation that an int8 graph rounds: its name there, and the range that it was calibrated to."""

    tensor: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.high < float("inf") or self.low != -self.high:
            raise ValueError(f"{self.tensor}: expected a range -h..h with h above 0, got {self.low}..{self.high}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A layer of an int8 graph that reads rounded values: a product with weights, or a sum of two activations."""

    layer: str  # the module's path in the tagger
    kind: Literal["product", "sum"]
    index: int  # among those of its kind in the module, in the order of the graph
    inputs: tuple[Rounded | None, ...]  # its activations in order; None where it reads one as it is
    weight: bool  # whether its weights are rounded

    def __str__(self) -> str:
        return f"{self.kind} {self.index} of {self.layer}"


def activation(values: Float[Tensor, "B ..."], step: Float[Tensor, ""]) -> Float[Tensor, "B ..."]:
    """Multiples of `step` from LOWEST to HIGHEST of them; halves go to the even one.  Step above 0.

    Learned step size, Esser et al. 2020, eq. 1-3, sec. 2.2: the step's gradient is scaled by (HIGHEST * number of
    values of one picture) ** -0.5; a value that saturates has no gradient.
    """
    rounded: Tensor = _Activation.apply(values, step)
    return rounded


def learned(values: Float[Tensor, "B ..."], log_high: Float[Tensor, ""]) -> Float[Tensor, "B ..."]:
    """`activation` with a range learned as its logarithm, which keeps it above 0 and Adam's steps relative to it.

    Jain et al. 2020, sec. 3.4, learn logarithms for that reason.
    """
    return activation(values, log_high.exp() / HIGHEST)


def weight(weights: Float[Tensor, "..."], axis: int = 0) -> Float[Tensor, "..."]:
    """Rounded with a step for each channel along `axis`: its largest value lies HIGHEST steps from 0.

    Gradients pass as if nothing were rounded.
    """
    with torch.no_grad():
        others = [dimension for dimension in range(weights.ndim) if dimension != axis % weights.ndim]
        steps = weights.abs().amax(others, keepdim=True) / HIGHEST
        steps = torch.where(steps > 0, steps, 1.0)
        error = (weights / steps).round() * steps - weights
    return weights + error


def folded(
    weights: Float[Tensor, "O ..."],
    bias: Float[Tensor, " O"] | None,
    scale: Float[Tensor, " O"],
    shift: Float[Tensor, " O"],
    mean: Float[Tensor, " O"],
    variance: Float[Tensor, " O"],
    eps: float,
) -> tuple[Float[Tensor, "O ..."], Float[Tensor, " O"]]:
    """Weights and bias of a convolution with the batch norm behind it in them, as an export makes them."""
    factor = scale * (variance + eps).rsqrt()
    moved = shift - (mean if bias is None else mean - bias) * factor
    return weights * factor.view(-1, *[1] * (weights.ndim - 1)), moved


def parameter_name(tensor: str) -> str:
    """What a module calls the range of a tensor: torch wants no dots there, and no name of its own."""
    return f"of_{tensor.replace('.', '|')}"


def tensor_name(parameter: str) -> str:
    """The inverse of `parameter_name`."""
    return parameter.removeprefix("of_").replace("|", ".")


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, step: Tensor) -> Tensor:
        context.save_for_backward(values, step)
        return (values.float() / step).round().clamp(LOWEST, HIGHEST).mul(step).to(values.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        values, step = context.saved_tensors
        steps = values.float() / step
        inside = (steps >= LOWEST) & (steps <= HIGHEST)
        by_step = torch.where(inside, steps.round() - steps, steps.clamp(LOWEST, HIGHEST))
        share = (HIGHEST * values[0].numel()) ** -0.5
        return gradient * inside, (gradient.float() * by_step).sum() * share
