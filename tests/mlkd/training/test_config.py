from dataclasses import replace

import pytest

from mlkd.losses import Bce, ClassAware, LabelKL, Pkt, ReviewKD
from mlkd.training.config import Training

TRAINING = Training(epochs=3, learning_rate=3e-3, batch_size=8)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        *[(name, 0, "") for name in ("epochs", "learning_rate", "accumulate", "save_steps")],
        ("batch_size", 1, ""),
        ("losses", (), "at least one loss"),
        ("losses", (Bce(), Bce(weight=2.0)), r"each kind once, got \['bce', 'bce'\]"),
        ("losses", (Bce(weight=0.0),), r"one with a weight above 0, got 0 for each of \['bce'\]"),
    ],
)
def test_ranges_are_checked(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"training\.{field}: expected {message}"):
        replace(TRAINING, **{field: value})


def test_needs_are_those_of_the_losses_with_a_weight() -> None:
    assert replace(TRAINING, losses=(Bce(), LabelKL(weight=0.0))).needs == frozenset()
    assert replace(TRAINING, losses=(Bce(), LabelKL())).needs == {"teacher"}
    assert replace(TRAINING, losses=(ClassAware(), Pkt(), ReviewKD())).needs == {
        "teacher", "embeddings", "pooled", "features",
    }  # fmt: skip
    assert not TRAINING.needs_teacher
