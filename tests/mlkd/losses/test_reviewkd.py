"""ReviewKD's adapter: shapes, the fusion by hand, gradients to the model and to itself."""

import numpy as np
import pytest
import torch
from torch import nn

from mlkd.losses import ReviewKD
from mlkd.models.outputs import Outputs

STUDENT = ((6, 8, 8), (10, 4, 4), (12, 2, 2))
TEACHER = ((5, 14, 12), (7, 7, 6), (9, 4, 3))
NORM = 1 / np.sqrt(1 + 1e-5)  # of a fresh batch-norm in eval


def maps(shapes: tuple[tuple[int, int, int], ...], seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, *shape, generator=generator).requires_grad_() for shape in shapes)


def loss_of(fused: tuple[torch.Tensor, ...], goals: tuple[torch.Tensor, ...]) -> torch.Tensor:
    none = torch.zeros(2, 3)
    return ReviewKD()(Outputs(none, features=fused), Outputs(none, features=goals), none)


@pytest.mark.parametrize(("student", "teacher"), [(3, 3), (3, 2), (2, 3), (1, 1)])
def test_adapted_maps_have_the_shapes_of_the_teachers_deepest(student: int, teacher: int) -> None:
    adapter = ReviewKD().adapter(STUDENT[-student:], TEACHER[-teacher:])
    fused = adapter(maps(STUDENT[-student:]))
    shared = min(student, teacher)
    assert [tuple(m.shape[1:]) for m in fused] == list(TEACHER[-shared:])
    assert torch.isfinite(loss_of(fused, maps(TEACHER[-teacher:], 1)))


def test_gradient_reaches_every_map_and_every_weight_but_not_the_teacher() -> None:
    adapter, given, goals = ReviewKD().adapter(STUDENT, TEACHER), maps(STUDENT), maps(TEACHER, 1)
    loss_of(adapter(given), goals).backward()
    assert all((m.grad != 0).any() for m in (*given, *adapter.parameters()))
    assert all(goal.grad is None for goal in goals)


def nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = [i * values.shape[2] // height for i in range(height)]
    columns = [j * values.shape[3] // width for j in range(width)]
    return values[:, :, rows][:, :, :, columns]


def expanded(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    height, width = values.shape[2:]
    padded = np.pad(values, ((0, 0), (0, 0), (1, 1), (1, 1)))
    shifted = [
        np.einsum("bchw,oc->bohw", padded[:, :, i : i + height, j : j + width], weight[:, :, i, j])
        for i, j in np.ndindex(3, 3)
    ]
    return sum(shifted) * NORM


def test_fusion_by_hand() -> None:
    adapter = ReviewKD().adapter(STUDENT[1:], TEACHER[1:]).double().eval()
    weights = {key: value.detach().numpy() for key, value in adapter.named_parameters()}
    shallow, deep = (m.detach().double() for m in maps(STUDENT[1:]))

    def reduced(values: torch.Tensor, stage: int) -> np.ndarray:
        weight = weights[f"stages.{stage}.reduce.0.weight"][:, :, 0, 0]
        return np.einsum("bchw,mc->bmhw", values.numpy(), weight) * NORM

    middle = nearest(reduced(deep, 1), 4, 3)
    deeper = nearest(middle, 4, 4)
    own = reduced(shallow, 0)
    weight, bias = weights["stages.0.attention.weight"][:, :, 0, 0], weights["stages.0.attention.bias"]
    both = np.concatenate([own, deeper], axis=1)
    shares = 1 / (1 + np.exp(-(np.einsum("bchw,sc->bshw", both, weight) + bias[:, None, None])))
    mixed = nearest(own * shares[:, :1] + deeper * shares[:, 1:], 7, 6)
    expected = (
        expanded(mixed, weights["stages.0.expand.0.weight"]),
        expanded(middle, weights["stages.1.expand.0.weight"]),
    )
    for got, wanted in zip(adapter((shallow, deep)), expected, strict=True):
        np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("last", "options", "middle"), [(12, {}, 12), (1280, {}, 512), (1280, {"channels": 96}, 96)])
def test_maps_are_reduced_to_the_students_last_width_or_fewer(last: int, options: dict[str, int], middle: int) -> None:
    adapter = ReviewKD(**options).adapter([(6, 4, 4), (last, 2, 2)], TEACHER[:2])
    widths = {m.out_channels for m in adapter.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)}
    assert widths == {middle, 2}


def test_maps_without_the_adapter_are_refused() -> None:
    with pytest.raises(ValueError, match="loss reviewkd: channels: expected at least 1, got 0"):
        ReviewKD(channels=0)
    with pytest.raises(ValueError, match=r"student maps: expected .*\(2, 5, 14, 12\).* got .*the adapter first"):
        loss_of(maps(STUDENT), maps(TEACHER))
    with pytest.raises(ValueError, match="loss reviewkd: expected a student with a trainable stage"):
        ReviewKD().adapter((), TEACHER)
