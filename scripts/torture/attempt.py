"""One attempt to break something."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Attempt:
    """What was tried, what happened, and what was lost by it: nothing, if `faults` is empty; and figures of it."""

    what: str
    note: str
    faults: list[str] = field(default_factory=list)
    measured: str = ""
