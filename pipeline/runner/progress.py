"""Progress of a run: a bar in a terminal, otherwise a log line every few seconds; both say what is left of the run."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from mlkd.core.printable import PrintableFormatter
from mlkd.core.progress import Progress as Report
from pipeline.runner.speed import Expected
from pipeline.runner.units import duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = logging.getLogger(__name__)

OURS = ("mlkd", "export", "benchmarks", "pipeline")
LINE_EVERY_S = 10.0


@contextmanager
def shown(stream: TextIO | None = None) -> Iterator[Callable[[Expected], Report]]:
    """Yield a function that makes the progress of a stage; log records go to the same stream, by default stderr."""
    handler = _Handler() if stream is None else logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
    with _logging_to(handler), ExitStack() as stack:
        if (stream or sys.stderr).isatty():
            yield _Bars(stack, stream)
        else:
            yield lambda expected: _Lines(_TimeLeft(expected))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at the time: a bar that is shown replaces it, to print above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def facts_text(facts: Mapping[str, float] | None) -> str:
    """Format loss terms and rates."""
    return "  ".join(f"{name} {_short(value)}" for name, value in (facts or {}).items())


@dataclass
class _TimeLeft:
    """What is left of a stage and of the run, from the stage's estimate and from the pace of its current part."""

    expected: Expected
    clock: Callable[[], float] = time.monotonic
    what: str = ""
    began: float = field(init=False)  # the stage
    part_began: float = 0.0
    first: int = 0

    def __post_init__(self) -> None:
        self.began = self.clock()

    def update(self, what: str, done: int, total: int) -> tuple[float | None, float | None]:
        """Seconds that are left of the stage and of the run; None while they are not known."""
        now = self.clock()
        if what != self.what:
            self.what, self.part_began, self.first = what, now, done
        parts = []
        if done > self.first:
            parts.append((now - self.part_began) * (total - done) / (done - self.first))
        if self.expected.seconds is not None:
            parts.append(max(0.0, self.expected.seconds - (now - self.began)))
        return (max(parts), max(parts) + self.expected.later_s) if parts else (None, None)


class _Lines:
    """A log line every few seconds."""

    def __init__(self, left: _TimeLeft) -> None:
        self.left = left
        self.what = ""
        self.logged = self.first = 0.0

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
        now, (stage_s, run_s) = self.left.clock(), self.left.update(what, done, total)
        if what != self.what:
            self.what, self.logged, self.first = what, now, done
        if now - self.logged < LINE_EVERY_S or done <= self.first or stage_s is None or run_s is None:
            return
        self.logged = now
        text = "%s: %s %d of %d, %s left, %s of the run  %s"
        times = duration(stage_s), duration(run_s)
        log.info(text, self.left.expected.stage, what, done, total, *times, facts_text(facts))


class _Bars:
    """Makes the bar of a stage; rich is imported with the first one."""

    def __init__(self, stack: ExitStack, stream: TextIO | None) -> None:
        self.stack, self.stream = stack, stream
        self.bars: Progress | None = None

    def __call__(self, expected: Expected) -> Report:
        if self.bars is None:
            self.bars = self.stack.enter_context(_bars(self.stream))
        return _Bar(self.bars, _TimeLeft(expected))


def _bars(stream: TextIO | None) -> Progress:
    """The columns of the line; where it is too narrow, the facts are cut off, at last also the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    def fixed(text: str) -> TextColumn:
        return TextColumn(text, table_column=Column(no_wrap=True))

    return Progress(
        fixed("{task.description}"),
        BarColumn(bar_width=16),
        fixed("{task.completed}/{task.total}"),
        fixed("{task.fields[left]}"),
        TextColumn("{task.fields[facts]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        console=Console(file=stream, stderr=stream is None),
        transient=True,
        expand=True,
    )


class _Bar:
    """A bar for the current part of a stage; it replaces the bar of the previous part."""

    def __init__(self, bars: Progress, left: _TimeLeft) -> None:
        self.bars, self.left = bars, left
        self.what = ""
        self.task: TaskID | None = None
        self._clear()

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
        left = "left: " + ", run ".join(map(_clock, self.left.update(what, done, total)))
        fields: dict[str, Any] = {"completed": done, "total": total, "left": left, "facts": facts_text(facts)}
        if what == self.what and self.task is not None:
            self.bars.update(self.task, **fields)
            return
        self._clear()
        self.what = what
        self.task = self.bars.add_task(f"{self.left.expected.stage}: {what}", **fields)

    def _clear(self) -> None:
        for task in self.bars.task_ids:
            self.bars.remove_task(task)


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    for name in OURS:
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for name in OURS:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = True


def _clock(seconds: float | None) -> str:
    """Format as 4:05 or 1:04:05."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
