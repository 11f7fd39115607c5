"""Progress of a run: a bar in a terminal, otherwise a log line every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mlkd.core.progress import Progress as Report
from pipeline.runner.stage import Stage, duration

log = logging.getLogger(__name__)

OURS = ("mlkd", "export", "benchmarks", "pipeline")
LINE_EVERY_S = 10.0


@contextmanager
def shown(console: Console | None = None) -> Iterator[Callable[[Stage], Report]]:
    """Yield a function that makes the progress of a stage; log records go to the same console meanwhile."""
    console = console or Console(stderr=True)
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False, highlighter=None, markup=False)
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    with _logging_to(handler):
        if not console.is_terminal:
            yield lambda stage: _Lines(stage.name)
            return
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[facts]}"),
        )  # fmt: skip
        with Progress(*columns, console=console, transient=True) as bars:
            yield lambda stage: _Bar(bars, stage.name)


def facts_text(facts: Mapping[str, float] | None) -> str:
    """Format loss terms and rates."""
    return "  ".join(f"{name} {_short(value)}" for name, value in (facts or {}).items())


class _Lines:
    """A log line every few seconds."""

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.stage, self.clock = stage, clock
        self.what = ""
        self.started = self.logged = clock()
        self.first = 0

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
        now = self.clock()
        if what != self.what:
            self.what, self.started, self.logged, self.first = what, now, now, done
        if now - self.logged < LINE_EVERY_S or done <= self.first:
            return
        self.logged = now
        left = (now - self.started) * (total - done) / (done - self.first)
        log.info("%s: %s %d of %d, %s left  %s", self.stage, what, done, total, duration(left), facts_text(facts))


class _Bar:
    """A bar for the current step of a stage; it replaces the bar of the previous step."""

    def __init__(self, bars: Progress, stage: str) -> None:
        self.bars, self.stage = bars, stage
        self.what = ""
        for task in bars.task_ids:
            bars.remove_task(task)

    def __call__(self, what: str, done: int, total: int, facts: Mapping[str, float] | None = None, /) -> None:
        if what != self.what:
            for task in self.bars.task_ids:
                self.bars.remove_task(task)
            self.what = what
            self.task = self.bars.add_task(f"{self.stage}: {what}", total=total, facts="")
        self.bars.update(self.task, completed=done, total=total, facts=facts_text(facts))


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


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
