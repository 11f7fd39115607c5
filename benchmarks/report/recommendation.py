"""Which engine to deploy on a device: one rule for the page, its limits and the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import schema
from benchmarks.report import figures
from benchmarks.report.rows import Row, place

KEPT = 0.99  # of the best mAP: what an engine may lose and still count as as good
CREDITED = ("map", "map_low", "map_high", "delta_map", "delta_low", "delta_high")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on an engine; mAP in points, 0 to 100, MB of 10^6 bytes."""

    max_p90_ms: float | None = None
    min_map: float | None = None
    max_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_p90_ms", "min_map", "max_mb"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name}: expected a number of at least 0, got {value}; give another limit")
        if self.min_map is not None and self.min_map > 100:
            raise ValueError(f"min_map: expected points from 0 to 100, got {self.min_map:g}; give another limit")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`refused` are the other engines of the device, each with its reason."""

    engine: str
    why: str
    runner_up: str | None
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`alike` are the engines that count as as good as the best, the chosen one among them; `better` is a reference."""

    chosen: Row
    best: Row
    alike: tuple[Row, ...]
    runner_up: Row | None
    better: Row | None


def choose(
    rows: Sequence[schema.Row],
    *,
    device: str,
    max_p90_ms: float | None = None,
    min_map: float | None = None,
    max_mb: float | None = None,
) -> Answer:
    """Choose the engine to deploy from the rows of a report.

    Args:
        rows: of all devices.
        device: name of the device.
        max_p90_ms: limit on the end-to-end latency.
        min_map: limit on mAP in points, 0 to 100.
        max_mb: limit on the size of the engine's files, in 10^6 bytes.

    Raises:
        ValueError: The device is unknown, a limit is out of range, or no engine fits.
    """
    limits = Limits(max_p90_ms=max_p90_ms, min_map=min_map, max_mb=max_mb)
    on_device = [row for row in place(rows) if row.device == device]
    if not on_device:
        known = ", ".join(dict.fromkeys(row.device for row in rows)) or "none"
        raise ValueError(f"device: expected one that was measured ({known}), got {device!r}; name one of these")
    choice = pick(on_device, limits)
    if choice is None:
        raise ValueError(nothing_fits(on_device, device, limits))
    return Answer(
        engine=choice.chosen.name,
        why=why(choice),
        runner_up=choice.runner_up.name if choice.runner_up else None,
        refused=tuple(_refused(on_device, choice, limits)),
    )


def pick(rows: Sequence[Row], limits: Limits) -> Choice | None:
    """The fastest (p90) of those that count as as good as the best, among measured engines within the limits.

    As good is what keeps 99 % of the best's mAP, and what the test does not tell apart from it, both without the
    `gain` of an engine over the float scores of its own model.
    """
    fitting = [row for row in rows if row.engine and row.plotted and not misses(row, limits)]
    if not fitting:
        return None
    best = max(fitting, key=lambda row: (_credit(row), -(row.latency or 0.0)))
    alike = tuple(row for row in fitting if as_good(row, best))
    chosen = min(alike, key=lambda row: (row.latency or 0.0, -_credit(row)))
    next_best = pick([row for row in fitting if row is not chosen], limits)
    runner_up = next_best.chosen if next_best else None
    better = fastest_reference([row for row in rows if not as_good(chosen, row)], limits)
    return Choice(chosen=chosen, best=best, alike=alike, runner_up=runner_up, better=better)


def fastest_reference(rows: Sequence[Row], limits: Limits) -> Row | None:
    """No candidate, but what a reader whose limits allow it should know of."""
    fitting = [row for row in rows if not row.engine and row.plotted and not misses(row, limits)]
    return min(fitting, key=lambda row: row.latency or 0.0, default=None)


def _told(row: Row) -> str:
    return f"{row.name}, {figures.milliseconds(row.latency)} ms with {figures.points(row.accuracy)} mAP"


def as_good(row: Row, best: Row) -> bool:
    """Within 1 % of the best mAP, or not told apart from it; a gain over the own float scores does not count."""
    return _credit(row) >= KEPT * _credit(best) or not told_apart(credited(row), credited(best))


def credited(row: Row) -> Row:
    """The row without its gain over the float scores of its own model, intervals shifted with it.

    Rounding adds no mAP: such a gain is chance or comes from another training, and is no reason to prefer an engine.
    """
    known = {name: getattr(row, name) for name in CREDITED if getattr(row, name) is not None}
    return dataclasses.replace(row, **{name: value - row.gain for name, value in known.items()})


def _credit(row: Row) -> float:
    return credited(row).accuracy or 0.0


def told_apart(row: Row, other: Row) -> bool:
    """Whether their intervals lie apart: the paired ones to the float scores where both rows have them, which are
    narrower than those of mAP itself; rows without intervals are apart unless equal."""
    pair = (row.change, other.change) if row.change and other.change else (row.interval, other.interval)
    if row.model != other.model:  # then the float scores are others
        pair = (row.interval, other.interval)
    if pair[0] is None or pair[1] is None:
        return row.accuracy != other.accuracy
    return pair[0][1] < pair[1][0] or pair[1][1] < pair[0][0]


def misses(row: Row, limits: Limits) -> dict[str, tuple[float, str]]:
    """Return by limit the share of it by which the row misses, and the miss in words."""
    size, found = row.bytes, {}
    accuracy, latency = 100 * (row.accuracy or 0.0), row.latency or 0.0
    if limits.max_p90_ms is not None and latency > limits.max_p90_ms:
        over = f"p90 {figures.milliseconds(latency)} ms, {figures.milliseconds(latency - limits.max_p90_ms)} ms over"
        found["max_p90_ms"] = (latency - limits.max_p90_ms) / max(limits.max_p90_ms, 1e-9), over
    if limits.min_map is not None and accuracy < limits.min_map:
        short = f"mAP {accuracy:.1f}, {limits.min_map - accuracy:.2f} points short"
        found["min_map"] = (limits.min_map - accuracy) / max(limits.min_map, 1e-9), short
    if limits.max_mb is not None and (size is None or size / 1e6 > limits.max_mb):
        megabytes = float("inf") if size is None else size / 1e6
        over = "size unknown" if size is None else f"{megabytes:.1f} MB, {megabytes - limits.max_mb:.2f} MB over"
        found["max_mb"] = (megabytes - limits.max_mb) / max(limits.max_mb, 1e-9), over
    return found


def closest(rows: Sequence[Row], limits: Limits) -> Row | None:
    """Of the measured engines the one whose worst miss is smallest."""
    measured = [row for row in rows if row.engine and row.plotted]
    return min(
        measured, key=lambda row: max((share for share, _ in misses(row, limits).values()), default=0.0), default=None
    )


def nothing_fits(rows: Sequence[Row], device: str, limits: Limits) -> str:
    near = closest(rows, limits)
    if near is None:
        return f"{device}: expected a measured engine with latency and mAP, got none; run bench there"
    told = "; ".join(words for _, words in misses(near, limits).values())
    known = fastest_reference(rows, limits)
    instead = f"; a reference, not in the bundle, would fit: {_told(known)}" if known else ""
    return (
        f"{device}: expected an engine within the limits, got none; "
        f"closest is {near.name} ({told}): relax that limit{instead}"
    )


def why(choice: Choice) -> str:
    """One or two sentences; more where an engine has a gain that does not count, and where a reference tags better."""
    better = f" A reference, not in the bundle, tags better: {_told(choice.better)}." if choice.better else ""
    return _why(choice) + "".join(_not_counted(row) for row in choice.alike) + better


def _not_counted(row: Row) -> str:
    """What is said of a gain over the float scores that would have counted: of more than 1 % of the mAP."""
    if row.gain <= (1 - KEPT) * (row.accuracy or 0.0):
        return ""
    gain = figures.signed(row.gain, digits=2)
    return f" {row.name} gains {gain} points over the float scores of its model: not counted, as rounding adds none."


def _why(choice: Choice) -> str:
    chosen, best = choice.chosen, choice.best
    numbers = f"{figures.milliseconds(chosen.latency)} ms end to end (p90) with {figures.points(chosen.accuracy)} mAP"
    if len(choice.alike) == 1:
        return f"{numbers}: the best mAP of those that fit, and no other comes within 1 % of it."
    told = f"{numbers}: the fastest of {len(choice.alike)} engines that tag as well as the best."
    apart = [row for row in choice.alike if row is not chosen and told_apart(credited(row), credited(chosen))]
    if chosen is best and apart:
        return f"{told} No other of them tags better."
    if not apart:
        return f"{told} There is no significant difference in mAP between them."
    lost = figures.signed(_credit(chosen) - _credit(best), digits=2)
    return f"{told} It is within 1 % of the best, {best.name} ({lost} points)."


def _refused(rows: Sequence[Row], choice: Choice, limits: Limits) -> list[tuple[str, str]]:
    """Every other engine of the device with the reason why it is not the one."""
    alike = {row.at for row in choice.alike}
    found = []
    for row in rows:
        if not row.engine or row is choice.chosen:
            continue
        if not row.plotted:
            reason = row.failure or "measured without a latency or a mAP"
        elif missed := misses(row, limits):
            reason = "; ".join(words for _, words in missed.values())
        elif row.at in alike:
            reason = f"as good, but slower: {figures.milliseconds(row.latency)} ms"
        else:
            reason = f"tags worse: mAP {figures.points(row.accuracy)}"
        found.append((row.name, reason))
    return found
