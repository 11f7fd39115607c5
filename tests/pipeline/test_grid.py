from __future__ import annotations

import numpy as np
import pytest

from pipeline.grid import SHOWN, choose


def test_pictures_that_engines_disagree_on_come_first() -> None:
    first = np.zeros((100, 3), dtype=bool)
    second = first.copy()
    second[[7, 50, 93], 1] = True
    rows = choose([first, first, second], 100, seed=0)
    assert set(rows[:3]) == {7, 50, 93}
    assert len(rows) == len(set(rows)) == SHOWN


def test_at_most_half_are_disagreements() -> None:
    first = np.zeros((100, 3), dtype=bool)
    second = first.copy()
    second[:50] = True
    rows = choose([first, second], 100, seed=0)
    assert sum(row < 50 for row in rows[: SHOWN // 2]) == SHOWN // 2
    assert len(set(rows)) == SHOWN
    assert choose([first, second], 100, seed=1) != rows


@pytest.mark.parametrize("decisions", [[], [np.zeros((4, 2), dtype=bool)]])
def test_few_pictures_and_engines(decisions: list[np.ndarray]) -> None:
    assert sorted(choose(decisions, 4, seed=0)) == [0, 1, 2, 3]
