"""Values against plain loops in float64, and the published total."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reference
from mlkd.losses.bce import bce
from mlkd.losses.class_aware import class_aware
from mlkd.losses.instance_aware import instance_aware
from mlkd.losses.label_kl import label_kl


def batch(images: int, labels: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    logits_s, logits_t = rng.normal(size=(2, images, labels)) * 2
    return (
        logits_s,
        logits_t,
        rng.normal(size=(images, labels, 4)),
        rng.normal(size=(images, labels, 6)),
        (rng.random((images, labels)) < 0.4).astype(float),
    )


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("seed", range(3))
def test_values_equal_the_plain_loops(seed: int) -> None:
    s, t, e_s, e_t, y = batch(9, 7, seed)
    S, T, E_s, E_t, Y = tensors(s, t, e_s, e_t, y)
    assert float(bce(S, Y)) == pytest.approx(reference.bce(s, y), rel=1e-12)
    assert float(label_kl(S, T, 2.0)) == pytest.approx(reference.label_kl(s, t, 2.0), rel=1e-10)
    assert float(class_aware(E_s, E_t, Y)) == pytest.approx(reference.class_aware(e_s, e_t, y), rel=1e-10)
    assert float(instance_aware(E_s, E_t, Y)) == pytest.approx(reference.instance_aware(e_s, e_t, y), rel=1e-10)


def test_by_hand() -> None:
    """Three images of one label at 0, 1, 3 (teacher) and 0, 1, 2 (student) on a line."""
    e_t = torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1)
    e_s = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1)
    # relative distances: teacher 1/2, 2/2, 3/2; student 1, 1, 2 over 4/3 = 3/4, 3/4, 3/2
    expected = 2 * (0.25**2 / 2 + 0.25**2 / 2) / 3 / 3
    assert float(class_aware(e_s, e_t, torch.ones(3, 1))) == pytest.approx(expected, rel=1e-6)
    assert float(label_kl(torch.zeros(1, 1), torch.full((1, 1), np.log(3.0)))) == pytest.approx(
        0.75 * np.log(1.5) + 0.25 * np.log(0.5), rel=1e-6
    )


def test_published_total_is_64_times_ours_at_its_batch_of_64() -> None:
    s, t, e_s, e_t, y = batch(64, 5)
    n = 64
    bce_sum, mld = reference.bce(s, y) * n, reference.label_kl(s, t)
    cd_sum, id_sum = reference.class_aware(e_s, e_t, y) * n, reference.instance_aware(e_s, e_t, y) * n
    published = bce_sum + 10 * mld + 100 * cd_sum + 1000 * id_sum
    S, T, E_s, E_t, Y = tensors(s, t, e_s, e_t, y)
    ours = bce(S, Y) + 10 / 64 * label_kl(S, T) + 100 * class_aware(E_s, E_t, Y) + 1000 * instance_aware(E_s, E_t, Y)
    assert n * float(ours) == pytest.approx(published, rel=1e-10)
