"""What a process on a device printed is untrusted: nothing of it is used that has not the type and range it must."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Check = Callable[[Any], Any]  # the value, or ValueError "expected …, got …"
PARTS = ("decode", "resize", "infer", "post")
LONGEST, REASON, MACHINE = 300, 1000, 20_000  # characters


def process(printed: Any) -> dict[str, Any]:
    """What `tagger.pyz bench` prints, other keys dropped; ValueError names what is wrong."""
    try:
        found: dict[str, Any] = _PROCESS(printed)
    except ValueError as cause:
        raise ValueError(f"what the device printed: {cause}; is the bundle whole there?") from None
    return found


def scores(printed: Any) -> dict[str, Any]:
    """What `tagger.pyz scores` prints of one engine, likewise."""
    try:
        found: dict[str, Any] = _SCORES(printed)
    except ValueError as cause:
        raise ValueError(f"what the device printed of its scores: {cause}; is the bundle whole there?") from None
    return found


def info(printed: Any) -> tuple[dict[str, str | None], dict[str, Any]]:
    """What `tagger.pyz info --json` prints: by engine what it lacks, and the machine."""
    try:
        found = _INFO(printed)
    except ValueError as cause:
        raise ValueError(f"what the device printed: {cause}") from None
    return {engine["name"]: engine["lacks"] for engine in found["engines"]}, found["machine"]


def _number(least: float = 0.0, most: float = math.inf) -> Check:
    def check(value: Any) -> float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not abs(value) <= sys.float_info.max or not least <= value <= most:
            raise _wrong(f"a number of {least:g} to {most:g}", value)
        return float(value)

    return check


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise _wrong("a whole number of at least 0", value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
        raise _wrong(f"up to {LONGEST} printable characters", value)
    return value


def _line(value: Any) -> str:
    """A reason in words, as much of it as fits."""
    if not isinstance(value, str):
        raise _wrong("text", value)
    return "".join(c if c.isprintable() else " " for c in value)[:REASON]


def _machine(value: Any) -> dict[str, Any]:
    """Facts by their names, short ones; which they are is the device's own matter."""
    if not isinstance(value, dict):
        raise _wrong("an object", value)
    for fact in value.values():
        several = fact if isinstance(fact, list) else list(fact.values()) if isinstance(fact, dict) else [fact]
        if not all(one is None or isinstance(one, (str, int, float)) for one in several):
            raise ValueError("machine: expected facts, lists and objects of facts, got others")
    if len(json.dumps(value)) > MACHINE:
        raise ValueError(f"machine: expected at most {MACHINE} characters, got more")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("true or false", value)
    return value


def _maybe(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _many(check: Check) -> Check:
    def all_of(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong("a list", value)
        return [check(item) for item in value]

    return all_of


def _fields(**checks: Check) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong("an object", value)
        found = {}
        for name, of_field in checks.items():
            if name not in value:
                raise ValueError(f"{name}: expected it there, got nothing")
            try:
                found[name] = of_field(value[name])
            except ValueError as cause:
                raise ValueError(f"{name}: {cause}") from None
        return found

    return check


def _milliseconds(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise _wrong("a list of milliseconds, at least one", value)
    for item in value:
        _number()(item)
    return [float(item) for item in value]


def _samples(value: Any) -> dict[str, list[float]]:
    names = [f"{part}_ms" for part in PARTS]
    found: dict[str, list[float]] = _fields(
        end_to_end_ms=_milliseconds, engine_ms=_milliseconds, **dict.fromkeys(names, _milliseconds)
    )(value)
    whole = found["end_to_end_ms"]
    for name in names:
        if len(found[name]) != len(whole):
            raise ValueError(f"{name}: expected {len(whole)} samples, as end to end, got {len(found[name])}")
    if not min(*whole, *found["engine_ms"]) > 0:
        raise ValueError("expected queries that take longer than 0 ms, got one of 0")
    if not np.allclose(np.sum([found[name] for name in names], axis=0), whole, rtol=1e-3):
        raise ValueError("expected parts that add up to end to end, got others")
    return found


def _tried(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) != 3:
        raise _wrong("batch, streams and images a second", value)
    return [_count(value[0]), _count(value[1]), _number()(value[2])]


def _wrong(expected: str, value: Any) -> ValueError:
    shown = repr(value)
    return ValueError(f"expected {expected}, got {shown if len(shown) <= 60 else f'{shown[:60]}…'}")


_CHANGE = {"clock_mhz": _number(), "temperature_c": _number(-273.0, 1000.0)}
_CHANGES = {name: _fields(before=_maybe(check), after=_maybe(check)) for name, check in _CHANGE.items()}
_RAN = _fields(provider=_text, device=_text, compute=_text, version=_text, placed=_number(0, 1))
_SUSTAINED = dict.fromkeys(("seconds", "p50", "p90", "p99", "first_p90", "last_p90"), _number())
_PROCESS = _fields(
    ran=_RAN,
    sha256=_text,
    bytes=_count,
    built_here=_flag,
    pinned=_maybe(_many(_count)),
    load_ms=_number(),
    first_ms=_number(),
    settled=_flag,
    samples=_samples,
    peak_rss_mb=_maybe(_number()),
    gpu_memory_mb=_maybe(_number()),
    energy=_maybe(_fields(mj_per_query=_number(), meter=_text)),
    throughput=_maybe(_fields(images_per_second=_number(), batch=_count, streams=_count, tried=_many(_tried))),
    sustained=_maybe(_fields(**_SUSTAINED, **_CHANGES)),
    **_CHANGES,
)
_SCORES = _fields(ran=_maybe(_RAN), sha256=_maybe(_text), error=_maybe(_line))
_INFO = _fields(engines=_many(_fields(name=_text, lacks=_maybe(_line))), machine=_machine)
