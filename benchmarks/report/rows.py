"""One row of the bench: an engine or a reference, with what was measured about it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]


def finite(value: Any) -> Any:
    """The same facts with every nan and infinity replaced by None, because JSON has no word for them."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Row:
    """`at` is the place in the bench, which names the row in the page whatever its name holds."""

    at: int
    facts: Facts

    def value(self, path: str) -> Any:
        """What is under a dotted path such as end_to_end_ms.p90; None where nothing is."""
        value: Any = self.facts
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def text(self, path: str) -> str:
        value = self.value(path)
        return "" if value is None else str(value)

    def number(self, path: str) -> float | None:
        """None where it was not measured."""
        value = self.value(path)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def name(self) -> str:
        return self.text("name")

    @property
    def device(self) -> str:
        return self.text("device")

    @property
    def engine(self) -> bool:
        return self.facts.get("kind") == "engine"

    @property
    def measured(self) -> bool:
        return self.facts.get("status") == "measured"

    @property
    def latency(self) -> float | None:
        """The headline: end-to-end p90 in milliseconds."""
        return self.number("end_to_end_ms.p90")

    @property
    def accuracy(self) -> float | None:
        return self.number("map")

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % of mAP."""
        low, high = self.number("map_low"), self.number("map_high")
        return None if low is None or high is None else (low, high)

    @property
    def drawn_interval(self) -> tuple[float, float] | None:
        """The interval of mAP where it contains the mAP."""
        found, value = self.interval, self.accuracy
        return found if found and value is not None and found[0] <= value <= found[1] else None

    @property
    def change(self) -> tuple[float, float] | None:
        """95 % of the difference to the float scores of the same model, paired."""
        low, high = self.number("delta_low"), self.number("delta_high")
        return None if low is None or high is None else (low, high)

    @property
    def gain(self) -> float:
        """By how much its mAP is above that of the float scores of its own model; 0 where it is not above."""
        return max(0.0, self.number("delta_map") or 0.0)

    @property
    def elsewhere(self) -> str:
        """Where its mAP comes from if not from its own device; int8 differs between instruction sets."""
        source = self.facts.get("map_from") or {}
        if self.accuracy is None or source.get("device") in (None, self.device):
            return ""
        words = source.get("instruction_set")
        return f"mAP from {source['device']}" + (f" ({words})" if words else "")

    @property
    def plotted(self) -> bool:
        return self.measured and bool(self.latency and self.latency > 0) and self.accuracy is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the timing of this row doubtful."""
        spread = self.number("spread")
        unstable = "unstable" + (f" (processes differ by {100 * spread:.0f} %)" if spread is not None else "")
        found = (
            unstable if self.facts.get("unstable") else "",
            "unsettled" if self.facts.get("settled") is False else "",
        )
        return tuple(text for text in found if text)

    def states(self, chosen: Sequence[Row]) -> tuple[str, ...]:
        """What a reader must know beside the name."""
        found = (
            "to ship" if self.at in [row.at for row in chosen] else "",
            "" if self.engine else "reference",
            "" if self.measured else ": ".join(filter(None, (self.text("status"), self.text("reason")))),
            self.elsewhere,
            "unstable" if self.facts.get("unstable") else "",
            "unsettled" if self.facts.get("settled") is False else "",
        )
        return tuple(state for state in found if state)

    def ap(self, label: int) -> float | None:
        values = self.facts.get("ap")
        return values[label] if isinstance(values, Sequence) and label < len(values) else None


def read_rows(bench: Facts) -> list[Row]:
    """Measured engines from the fastest, then references, then what was built but not run, then what failed."""
    rows = [Row(at, facts) for at, facts in enumerate(bench.get("rows") or ())]
    return sorted(rows, key=lambda row: (_rank(row), row.latency or math.inf))


def _rank(row: Row) -> int:
    if row.measured:
        return 0 if row.engine else 1
    return 3 if row.facts.get("status") == "failed" else 2
