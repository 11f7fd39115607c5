"""What each stage reads and what its result depends on, one file a command."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from pipeline.runner.stage import Context


def body(stage: str, *arguments: Any) -> Callable[[Context], None]:
    """Return `run` of pipeline/stages/STAGE.py with its first arguments.

    The module is imported when the stage has to run: torch takes seconds.
    """

    def run(context: Context) -> None:
        import_module(f"pipeline.stages.{stage}").run(*arguments, context)

    return run
