import io
import logging
import re

import pytest

from pipeline.runner import progress
from pipeline.runner.progress import facts_text, shown
from pipeline.runner.speed import Expected

FACTS = {"bce": 0.51234, "label_kl": 1.2, "reviewkd": 251.0, "images/s": 812.3}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    with shown(stream) as stages:
        assert isinstance(stages(Expected("teacher")), progress._Lines)
        report = progress._Lines(progress._TimeLeft(Expected("teacher", later_s=600.0), clock))
        for done in range(61):
            clock.now = float(done)
            report("steps", done, 60, {"bce": 0.51234, "images/s": 812.3})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[0].split(" ", 1)[1] == (
        "teacher: steps 10 of 60, 50 s left, 11 min of the run  bce 0.512  images/s 812"
    )
    assert lines[-1].split(" ", 1)[1].startswith("teacher: steps 60 of 60, 0 s left, 10 min of the run")


def test_what_is_left_is_known_before_the_first_item_and_never_less_than_the_part_needs() -> None:
    clock = Clock()
    left = progress._TimeLeft(Expected("student", 100.0, 40.0), clock)
    assert left.update("features", 0, 10) == (100.0, 140.0)
    clock.now = 30.0
    assert left.update("features", 10, 10) == (70.0, 110.0)  # other parts follow
    assert left.update("steps", 0, 50) == (70.0, 110.0)
    clock.now = 40.0
    assert left.update("steps", 5, 50) == (90.0, 130.0)  # slower than expected: 2 s a step
    clock.now = 130.0
    assert left.update("steps", 50, 50) == (0.0, 40.0)
    assert progress._TimeLeft(Expected("student"), clock).update("steps", 0, 50) == (None, None)


@pytest.mark.parametrize("width", [80, 160])
def test_a_terminal_of_any_width_shows_bar_steps_and_what_is_left(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with shown(terminal) as stages:
        report = stages(Expected("teacher_outputs", 100.0, 3600.0))
        report("frozen features of view 2", 1, 8000, FACTS)
        logging.getLogger("pipeline.runner.stage").info("a line above the bar")
        report = stages(Expected("student", 100.0, 3600.0))
        report("steps", 503, 625, FACTS)
    assert "a line above the bar" in terminal.getvalue()
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()))
    bar = next(line for line in lines if line.startswith("student: steps"))
    assert len(bar.rstrip()) <= width
    assert re.match(r"student: steps ━+[╸╺]?━* 503/625 left: 1:40, run 1:01:40 bce 0", bar)
    assert ("images/s 812" in bar) == (width == 160)
    features = next(line for line in lines if line.startswith("teacher_outputs"))
    assert re.match(r"teacher_outputs: frozen features of view 2 .*1/8000 left: 1:40, run 1:01:40", features)


def test_logging_is_as_before_afterwards() -> None:
    logger = logging.getLogger("pipeline")
    handlers = list(logger.handlers)
    with shown(io.StringIO()):
        assert len(logger.handlers) == len(handlers) + 1
    assert logger.handlers == handlers
    assert logger.propagate


def test_facts_are_short() -> None:
    assert facts_text({"a": 0.000123456, "b": 1234.5}) == "a 0.000123  b 1234"
    assert facts_text(None) == ""
