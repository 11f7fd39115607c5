"""Which layers go back to float, on costs that are known."""

import itertools
from collections.abc import Collection

import numpy as np
import pytest
from numpy.typing import NDArray

from export.precision.budget import Budget, FloatFallback, FloatLayer, Quality, fewest, rank

LAYERS = ("a", "b", "c", "d", "e", "f")
COSTS = {"a": 0.01, "b": 0.2, "c": 0.0, "d": 0.05, "e": 0.1, "f": 0.02}
IMAGES = 64


def lost(floats: Collection[str]) -> float:
    return sum(cost for layer, cost in COSTS.items() if layer not in floats)


def drifts(floats: Collection[str]) -> NDArray[np.floating]:
    """Of each image, as much more on one as there is less on another."""
    return lost(floats) * np.linspace(0.9, 1.1, IMAGES)


def quality(drift: float, wanted: float) -> Quality:
    return Quality(0.9 - drift, 0, 0, drift, 1 - drift, is_significant=True, within_budget=0.9 - drift >= wanted)


def restore(wanted: float, most: int) -> FloatFallback:
    return fewest(rank(LAYERS, drifts)[:most], lambda floats: quality(lost(floats), wanted))


@pytest.mark.parametrize("wanted", [0.5, 0.6, 0.72, 0.8, 0.84, 0.88, 0.89])
def test_the_fewest_layers_that_suffice(wanted: float) -> None:
    found = restore(wanted, len(LAYERS))
    assert found.quality == quality(lost([entry.layer for entry in found.layers]), wanted)
    assert found.quality.within_budget
    fewer = itertools.combinations(LAYERS, max(0, len(found.layers) - 1))
    assert not found.layers or all(0.9 - lost(chosen) < wanted for chosen in fewer), "one layer less would do"


def test_those_that_hurt_most_first_and_what_each_costs() -> None:
    found = restore(0.8, 6)
    assert [entry.layer for entry in found.layers] == ["b", "e"]
    assert [entry.gain for entry in found.layers] == pytest.approx([0.2, 0.1])


def test_no_more_than_allowed() -> None:
    found = restore(0.85, 2)
    assert [entry.layer for entry in found.layers] == ["b", "e"]
    assert not found.quality.within_budget, "over budget, and it shows"
    assert restore(0.85, 0).layers == ()


def test_a_layer_whose_gain_is_noise_is_not_ranked() -> None:
    """c gives back nothing on average, but something on half of the images; d a little on all."""

    def noisy(floats: Collection[str]) -> NDArray[np.floating]:
        luck = 0.5 * np.where(np.arange(IMAGES) % 2, 1, -1) if "c" in floats else 0.0
        return drifts(floats) + luck - (0.01 if "c" in floats else 0.0)

    ranked = rank(LAYERS, noisy)
    assert [entry.layer for entry in ranked] == ["b", "e", "d", "f", "a"]
    assert ranked[0] == FloatLayer("b", pytest.approx(0.2))
    assert rank(LAYERS, lambda floats: drifts(floats)[:1]) == [], "one image shows no noise"


def test_measures_all_images_seldom() -> None:
    many = [f"layer {number}" for number in range(64)]
    asked: list[Collection[str]] = []

    def measure(floats: Collection[str]) -> Quality:
        asked.append(floats)
        return quality(0.4 - 0.4 * len(floats) / 64, 0.7)

    ranked = rank(many, lambda floats: 1 - np.full(IMAGES, len(floats) / 64))
    assert len(fewest(ranked, measure).layers) == 32
    assert len(asked) <= 8, "once with all, then halving"


@pytest.mark.parametrize(("field", "value"), [("keep", 1.1), ("float_layers", -0.1), ("images", 0)])
def test_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"export.budget.{field}: expected .*got {value}"):
        Budget(**{field: value})
