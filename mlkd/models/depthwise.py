"""Depthwise convolutions on maps smaller than their kernel, as the last stages of a compact net have at 64 or 96 px.

oneDNN computes their weight gradient on a CPU with its reference loop: 48 to 94 ms for 64 maps of 1,152 or 1,248
channels with 2 or 3 pixels a side (AVX2, one thread), where a sum a tap takes 1 to 4 ms.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with one filter a channel; where a CPU trains it on small maps, its weight gradient is our own."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not (torch.is_grad_enabled() and weight.requires_grad and self._is_slow(input)):
            outputs: Tensor = super()._conv_forward(input, weight, bias)
            return outputs
        outputs = _Depthwise.apply(input, weight, self.stride, self.padding)
        return outputs if bias is None else outputs + bias[:, None, None]

    def _is_slow(self, inputs: Tensor) -> bool:
        if inputs.device.type != "cpu" or inputs.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return False
        assert not isinstance(self.padding, str), "replace_depthwise has checked"
        sizes = zip(inputs.shape[-2:], self.kernel_size, self.padding, self.stride, strict=True)
        return any((side + 2 * padding - k) // stride + 1 < k for side, k, padding, stride in sizes)


def replace_depthwise(net: nn.Module) -> None:
    """Turn the depthwise convolutions of a net into DepthwiseConv2d, in place; tensors and their names stay."""
    for module in net.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels == module.out_channels > 1:
            plain = module.dilation == (1, 1) and module.padding_mode == "zeros" and isinstance(module.padding, tuple)
            if plain:
                module.__class__ = DepthwiseConv2d


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Float[Tensor, "B C H W"], weight: Float[Tensor, "C 1 R S"], stride: Any, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.padding = stride, padding
        return torch.conv2d(inputs, weight, None, stride, padding, (1, 1), len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        inputs, weight = ctx.saved_tensors
        of_inputs = None
        if ctx.needs_input_grad[0]:
            sizes = ctx.stride, ctx.padding, (1, 1), False, (0, 0), len(weight), (True, False, False)
            of_inputs, _, _ = torch.ops.aten.convolution_backward(gradient, inputs, weight, None, *sizes)
        return of_inputs, weight_gradient(inputs, gradient, weight.shape[-2:], ctx.stride, ctx.padding), None, None


def weight_gradient(
    inputs: Float[Tensor, "B C H W"],
    gradient: Float[Tensor, "B C P Q"],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Float[Tensor, "C 1 R S"]:
    """Gradient of a depthwise convolution in its weight: a sum over images and positions for each tap of the kernel.

    Args:
        inputs: What was convolved.
        gradient: Of the loss in the outputs.
        kernel: (R, S).
        stride: Vertical and horizontal.
        padding: Zeros above and below, left and right.
    """
    images, outputs = inputs.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)  # channels last, as they lie in memory
    result = inputs.new_zeros(*kernel, inputs.shape[1])
    for row in range(kernel[0]):
        rows, out_rows = _overlap(inputs.shape[2], gradient.shape[2], row - padding[0], stride[0])
        for column in range(kernel[1]):
            columns, out_columns = _overlap(inputs.shape[3], gradient.shape[3], column - padding[1], stride[1])
            result[row, column] = (images[:, rows, columns] * outputs[:, out_rows, out_columns]).sum((0, 1, 2))
    return result.permute(2, 0, 1)[:, None].contiguous()


def _overlap(size: int, outputs: int, offset: int, stride: int) -> tuple[slice, slice]:
    """The input positions that a tap reads inside the map, and the outputs that they belong to."""
    first = max(0, -(offset // stride))
    last = max(first, min(outputs, (size - 1 - offset) // stride + 1))
    return slice(max(0, stride * first + offset), max(0, stride * (last - 1) + offset + 1), stride), slice(first, last)
