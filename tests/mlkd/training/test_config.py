from __future__ import annotations

from dataclasses import replace

import pytest

from mlkd.losses import Bce, ClassAware, LabelKL, Pkt, ReviewKD
from mlkd.training.config import Training

TRAINING = Training(epochs=3, learning_rate=3e-3, batch_size=8)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("learning_rate", 0.0), ("batch_size", 1), ("losses", ()), ("accumulate", 0), ("save_steps", 0)],
)
def test_ranges_are_checked(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"training\.{field}: expected"):
        replace(TRAINING, **{field: value})


def test_a_kind_of_loss_may_occur_once() -> None:
    with pytest.raises(ValueError, match=r"training.losses: expected each kind once, got \['bce', 'bce'\]"):
        replace(TRAINING, losses=(Bce(), Bce(weight=2.0)))


def test_one_loss_needs_a_weight() -> None:
    with pytest.raises(ValueError, match=r"losses: expected one with a weight above 0, got 0 for each of \['bce'\]"):
        replace(TRAINING, losses=(Bce(weight=0.0),))


def test_needs_are_those_of_the_losses_with_a_weight() -> None:
    assert replace(TRAINING, losses=(Bce(), LabelKL(weight=0.0))).needs == frozenset()
    assert replace(TRAINING, losses=(Bce(), LabelKL())).needs == {"teacher"}
    assert replace(TRAINING, losses=(ClassAware(), Pkt(), ReviewKD())).needs == {
        "teacher", "embeddings", "pooled", "features",
    }  # fmt: skip
    assert not TRAINING.needs_teacher
