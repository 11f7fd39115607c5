"""What a device answers, and reports that others wrote."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from benchmarks.output_check import read_info, read_process, read_score_result
from benchmarks.remote.connection import read_object
from benchmarks.report import render
from benchmarks.report.recommendation import budget_of, choose
from benchmarks.schema import read_report
from pipeline.runner.result import read_json
from scripts.torture.doors.door import is_chosen


def answer(content: bytes, folder: Path) -> None:  # noqa: ARG001
    """A line of JSON from a device."""
    printed = read_object(content)
    for read in (read_info, read_score_result):
        with contextlib.suppress(ValueError):
            json.dumps(vars(read(printed)), default=vars)
    json.dumps(vars(read_process(printed)), default=vars)


def report(content: bytes, folder: Path) -> None:
    """report.json: a choice is made by it, and the page is written."""
    (folder / "report.json").write_bytes(content)
    read = read_report(read_json(folder / "report.json"))
    with contextlib.suppress(ValueError):
        choose(read.rows, device=read.devices[0].name, budget=budget_of(read.search))
    if is_chosen(content, 16):
        render(read, folder / "out")
