from itertools import permutations
from pathlib import Path

import pytest

from mlkd.data.base import Sample
from mlkd.data.leakage import Decoded, group_keys, refuse_leaks


def decoded(name: str, group: str, content: str) -> Decoded:
    return Decoded(0, Sample(name, Path(name), (), group), content)


def test_a_chain_of_copies_and_groups_has_one_key() -> None:
    chain = [decoded("a", "1", "x"), decoded("b", "2", "x"), decoded("c", "2", "y"), decoded("d", "3", "z")]
    for order in permutations(range(4)):
        keys = dict(zip(order, group_keys([chain[number] for number in order]), strict=True))
        assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_group_in_two_splits_is_refused() -> None:
    splits = {"train": [decoded("a", "1", "x")], "val": [], "test": [decoded("b", "1", "y")]}
    with pytest.raises(ValueError, match=r"the same group in train \(a\) and test \(b\)"):
        refuse_leaks(splits)
