"""torch.compile takes every pointwise loss whole, and the structural ones with dynamo's dynamic outputs captured."""

from __future__ import annotations

import pytest
import torch

from mlkd.losses import (
    Asymmetric,
    Bce,
    ClassAware,
    InstanceAware,
    Kd,
    LabelKL,
    Loss,
    Mse,
    PartialSoftmax,
    Pkt,
    ReviewKD,
)
from tests.helpers.loss_batches import gradients, label_mask, name, student, targets, teacher

POINTWISE = [Bce(), LabelKL(), Asymmetric(), Mse(), Mse(on="scores"), PartialSoftmax(), Kd(), ReviewKD(), Pkt()]
MASKED = [Bce(), Asymmetric(), PartialSoftmax()]


def assert_compiles(loss: Loss, mask: torch.Tensor | None) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(loss.__call__, fullgraph=True, backend="aot_eager")
    given = student()
    expected = loss(given, teacher(), targets(), mask)
    value = compiled(given, teacher(), targets(), mask)
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for got, wanted in zip(gradients(value, given), gradients(expected, given), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", POINTWISE, ids=name)
def test_pointwise_losses_compile_whole(loss: Loss) -> None:
    assert_compiles(loss, None)


@pytest.mark.parametrize("loss", MASKED, ids=name)
def test_masked_losses_compile_whole(loss: Loss) -> None:
    assert_compiles(loss, label_mask())


@pytest.mark.parametrize("loss", [ClassAware(), InstanceAware()], ids=name)
def test_structure_compiles_whole_with_dynamic_outputs_captured(loss: Loss) -> None:
    with torch._dynamo.config.patch(capture_scalar_outputs=True, capture_dynamic_output_shape_ops=True):
        assert_compiles(loss, label_mask())
