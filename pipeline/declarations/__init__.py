"""What each stage reads and what its result depends on, one file a command."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def body(stage: str, *arguments: Any, function: str = "run", room: str = "pipeline.stages") -> Callable[[Any], None]:
    """Return a function of ROOM/STAGE.py with its first arguments.

    The module is imported when the stage has to run: torch takes seconds.
    """

    def call(last: Any) -> None:
        getattr(import_module(f"{room}.{stage}"), function)(*arguments, last)

    return call
