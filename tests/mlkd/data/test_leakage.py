from __future__ import annotations

from pathlib import Path

import pytest

from mlkd.data.base import Sample
from mlkd.data.leakage import Decoded, refuse_leaks, units


def sample(name: str, group: str, content: str) -> Decoded:
    return Decoded(0, Sample(name, Path(name), (), group), content)


def test_a_chain_of_copies_and_groups_stays_together() -> None:
    chain = [sample("a", "1", "x"), sample("b", "2", "x"), sample("c", "2", "y"), sample("d", "3", "z")]
    for order in ([0, 1, 2, 3], [3, 2, 0, 1], [1, 3, 2, 0]):
        keys = dict(zip(order, units([chain[at] for at in order]), strict=True))
        assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_group_in_two_splits_is_refused() -> None:
    splits = {"train": [sample("a", "1", "x")], "val": [], "test": [sample("b", "1", "y")]}
    with pytest.raises(ValueError, match=r"the same group in train \(a\) and test \(b\)"):
        refuse_leaks(splits)
