from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from pipeline.runner import progress
from pipeline.runner.progress import facts_text, shown
from pipeline.runner.stage import Stage

STAGE = Stage(name="teacher", run=lambda _: None)


def test_without_a_terminal_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), force_terminal=False)
    with shown(console) as stages:
        report = progress._Lines("teacher", lambda: now)
        assert isinstance(stages(STAGE), progress._Lines)
        for done in range(61):
            now = float(done)
            report("epochs", done, 60, {"bce": 0.51234, "images/s": 812.3})
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[0].split(" ", 1)[1] == "teacher: epochs 10 of 60, 50 s left  bce 0.512  images/s 812"
    assert lines[-1].split(" ", 1)[1].startswith("teacher: epochs 60 of 60, 0 s left")


def test_in_a_terminal_a_bar_with_what_is_known() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    with shown(console) as stages:
        stages(STAGE)("select", 1, 4)
        stages(STAGE)("epochs", 3, 4, {"bce": 0.5})
        logging.getLogger("pipeline.runner.stage").info("a line above the bar")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("teacher: epochs", "3/4", "bce 0.5", "a line above the bar"):
        assert part in text


def test_logging_is_as_before_afterwards() -> None:
    logger = logging.getLogger("pipeline")
    handlers = list(logger.handlers)
    with shown(Console(file=io.StringIO())):
        assert len(logger.handlers) == len(handlers) + 1
    assert logger.handlers == handlers
    assert logger.propagate


def test_facts_are_short() -> None:
    assert facts_text({"a": 0.000123456, "b": 1234.5}) == "a 0.000123  b 1234"
    assert facts_text(None) == ""
