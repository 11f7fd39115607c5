"""Which layers go back to float, on costs that are known."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import pytest

from export.precision.budget import Budget, FloatLayer, Restored, Score, fewest, rank

LAYERS = ("a", "b", "c", "d", "e", "f")
COSTS = {"a": 0.01, "b": 0.2, "c": 0.0, "d": 0.05, "e": 0.1, "f": 0.02}


def score(floats: Collection[str]) -> float:
    return 0.9 - sum(cost for layer, cost in COSTS.items() if layer not in floats)


def restore(whole: Score, part: Score, wanted: float, most: int) -> Restored:
    return fewest(rank(LAYERS, part)[:most], whole, wanted)


@pytest.mark.parametrize("wanted", [0.5, 0.6, 0.72, 0.8, 0.84, 0.88, 0.89])
def test_the_fewest_layers_that_suffice(wanted: float) -> None:
    found = restore(score, score, wanted, len(LAYERS))
    assert found.score == score([entry.layer for entry in found.layers]) >= wanted
    fewer = itertools.combinations(LAYERS, max(0, len(found.layers) - 1))
    assert not found.layers or all(score(chosen) < wanted for chosen in fewer), "one layer less would do"


def test_those_that_hurt_most_first_and_what_each_costs() -> None:
    found = restore(score, score, 0.8, 6)
    assert [entry.layer for entry in found.layers] == ["b", "e"]
    assert [entry.gain for entry in found.layers] == pytest.approx([0.2, 0.1])


def test_no_more_than_allowed() -> None:
    found = restore(score, score, 0.85, 2)
    assert [entry.layer for entry in found.layers] == ["b", "e"]
    assert found.score == pytest.approx(0.82), "over budget, and it shows"
    assert restore(score, score, 0.85, 0).layers == ()


def test_ranks_on_the_part_and_judges_on_the_whole() -> None:
    """On the part c seems to hurt and b does not."""
    swapped = COSTS | {"b": 0.0, "c": 0.2}

    def part(floats: Collection[str]) -> float:
        return 0.9 - sum(cost for layer, cost in swapped.items() if layer not in floats)

    found = restore(score, part, 0.61, 6)
    assert [entry.layer for entry in found.layers] == ["c", "e"]
    assert found.layers[0] == FloatLayer("c", pytest.approx(0.2))
    assert found.score == pytest.approx(score(("c", "e")))


def test_looks_at_all_pictures_seldom() -> None:
    many = [f"layer {number}" for number in range(64)]
    asked: list[Collection[str]] = []

    def whole(floats: Collection[str]) -> float:
        asked.append(floats)
        return len(floats) / 64

    ranked = rank(many, lambda floats: float(len(floats)))
    assert len(fewest(ranked, whole, 0.5).layers) == 32
    assert len(asked) <= 8, "once with all, then halving"


@pytest.mark.parametrize(("field", "value"), [("keep", 1.1), ("float_layers", -0.1), ("pictures", 0), ("epochs", -1)])
def test_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"export.budget.{field}: expected .*got {value}"):
        Budget(**{field: value})
