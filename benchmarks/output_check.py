"""Check what a process on a device printed: output of a device is untrusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from benchmarks.device.output import Process, Reason, Samples, ScoreResult, Text
from benchmarks.device.protocol import PARTS
from benchmarks.parsing import parse

T = TypeVar("T")
LONGEST_MACHINE = 20_000  # characters
ADVICE = ". Check that the device's copy of the bundle is complete."


@dataclass(frozen=True)
class EngineInfo:
    """An engine of a bundle, and what it lacks on the device to run there."""

    name: Text
    lacks: Reason | None


@dataclass(frozen=True)
class Info:
    """What `tagger.pyz info --json` prints; the device decides which facts describe its machine."""

    engines: list[EngineInfo]
    machine: dict[str, Any]


def read_process(printed: object) -> Process:
    """Read what `tagger.pyz bench` printed; ValueError if a value is missing, has another type or is out of range."""
    return _read(Process, printed, lambda process: _check_samples(process.samples), advice=ADVICE)


def read_score_result(printed: object) -> ScoreResult:
    """Read what `tagger.pyz scores` printed of one engine; ValueError like `read_process`."""
    return _read(ScoreResult, printed, about=" about its scores", advice=ADVICE)


def read_info(printed: object) -> Info:
    """Read what `tagger.pyz info --json` printed; ValueError like `read_process`."""
    return _read(Info, printed, lambda info: _check_machine(info.machine))


def _read(
    kind: type[T],
    printed: object,
    check: Callable[[T], None] = lambda _: None,
    *,
    about: str = "",
    advice: str = "",
) -> T:
    try:
        parsed = parse(kind, printed)
        check(parsed)
    except ValueError as cause:
        raise ValueError(f"Invalid output from the device{about}: {cause}{advice}") from None
    return parsed


def _check_samples(samples: Samples) -> None:
    parts = {f"{part}_ms": getattr(samples, f"{part}_ms") for part in PARTS}
    whole = samples.end_to_end_ms
    for name, values in (("end_to_end_ms", whole), ("engine_ms", samples.engine_ms)):
        if not values:
            raise ValueError(f"samples: {name}: expected a list of milliseconds, at least one, got none")
    for name, values in parts.items():
        if len(values) != len(whole):
            raise ValueError(f"samples: {name}: expected {len(whole)} samples, as end to end, got {len(values)}")
    if not min(*whole, *samples.engine_ms) > 0:
        raise ValueError("samples: expected queries that take longer than 0 ms, got one of 0")
    if not np.allclose(np.sum(list(parts.values()), axis=0), whole, rtol=1e-3):
        raise ValueError("samples: expected parts that add up to end to end, got others")


def _check_machine(machine: dict[str, Any]) -> None:
    for fact in machine.values():
        items = fact if isinstance(fact, list) else list(fact.values()) if isinstance(fact, dict) else [fact]
        if not all(item is None or isinstance(item, (str, int, float)) for item in items):
            raise ValueError("machine: expected facts, lists and objects of facts, got others")
    if len(json.dumps(machine)) > LONGEST_MACHINE:
        raise ValueError(f"machine: expected at most {LONGEST_MACHINE} characters, got more")
