"""torch.compile takes every pointwise loss as one graph; test_structure has the structural ones."""

from __future__ import annotations

import pytest
import torch

from mlkd.losses import Asymmetric, Bce, Kd, LabelKL, Loss, Mse, PartialSoftmax, Pkt, ReviewKD
from tests.helpers.loss_batches import gradients, label_mask, name, student, targets, teacher

POINTWISE = [Bce(), LabelKL(), Asymmetric(), Mse(on="scores"), PartialSoftmax(), Kd(), ReviewKD(), Pkt()]


@pytest.mark.parametrize("loss", POINTWISE, ids=name)
def test_pointwise_losses_compile_as_one_graph(loss: Loss) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(loss.__call__, fullgraph=True, backend="aot_eager")
    given = student()
    expected = loss(given, teacher(), targets(), label_mask())
    value = compiled(given, teacher(), targets(), label_mask())
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    for got, wanted in zip(gradients(value, given), gradients(expected, given), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)
