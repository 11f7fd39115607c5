"""Disjoint sets (union-find): which items belong together, directly or through a chain of others."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Any)


class DisjointSets(Generic[Item]):
    """Sets of items; an item that was never joined is alone in its set."""

    def __init__(self) -> None:
        self._parent: dict[Item, Item] = {}

    def root(self, item: Item) -> Item:
        """The item that stands for the set of `item`."""
        while (parent := self._parent.get(item, item)) != item:
            item = parent
        return item

    def attach(self, item: Item, other: Item) -> None:
        """Join both sets; the root of `other` stands for them."""
        root = self.root(other)
        if self.root(item) != root:
            self._parent[self.root(item)] = root

    def join(self, first: Item, second: Item) -> None:
        """Join both sets; the lower of their roots stands for them."""
        low, high = sorted((self.root(first), self.root(second)))
        self.attach(high, low)
