"""A grid: every key of a dataclass has one value or a list of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Grid(Generic[T]):
    """The values of some keys of the dataclass `T`, in the order of its fields; a recipe may give one or a list."""

    values: Mapping[str, tuple[Any, ...]]
