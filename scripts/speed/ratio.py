"""What `make speed` measures: ways of doing something, and ratios between them that have a limit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Way = Callable[[], float]  # seconds or bytes, of the same unit as those it is compared with


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The sum of the ways `top` divided by that of `bottom`, each by name; without a bottom the sum itself.

    `cause` says why a ratio falls short, where that is known.
    """

    what: str
    top: tuple[str, ...]
    bottom: tuple[str, ...] = ()
    limit: float
    at_least: bool = True
    cause: str = ""

    def of(self, rounds: Sequence[Mapping[str, float]]) -> float:
        """Median over rounds, as what disturbs a machine disturbs neighbours in time alike."""
        return statistics.median(
            sum(values[name] for name in self.top) / (sum(values[name] for name in self.bottom) if self.bottom else 1)
            for values in rounds
        )

    def line(self, rounds: Sequence[Mapping[str, float]]) -> str:
        """A row of the table in Markdown."""
        value = self.of(rounds)
        passed = value >= self.limit if self.at_least else value <= self.limit
        cause = f": {self.cause}" if self.cause else ""
        sign = "≥" if self.at_least else "≤"
        return f"| {self.what} | {value:.3g} | {sign} {self.limit:g} | {'pass' if passed else 'short' + cause} |"


def seconds(function: Callable[[], object], calls: int = 1) -> float:
    """Median time of a call."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
