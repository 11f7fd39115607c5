"""The bundle's own program as a function: arguments in, the JSON that it prints out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlkd.core.json_text import parse_json
from mlkd.core.processes import child_environment


class ProcessFailedError(RuntimeError):
    """The bundle's program ended with an error; the message is the last line it wrote."""


@dataclass(frozen=True)
class Program:
    """The shipped tagger.pyz, run in a clean process."""

    command: Sequence[str]
    timeout_s: float

    def __call__(self, *arguments: str) -> Any:
        """The JSON that one command prints; raises ProcessFailedError if it prints none."""
        try:  # not in the checkout: nothing may come from there
            ended = subprocess.run(
                [*self.command, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=os.sep,
                env=child_environment(), timeout=self.timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"no answer within {self.timeout_s:g} s") from None
        except (FileNotFoundError, PermissionError) as cause:
            raise ProcessFailedError(f"{self.command[0]}: expected a program, got: {cause.strerror}") from None
        try:
            return parse_json(ended.stdout.splitlines()[-1])
        except (ValueError, IndexError):
            last = ended.stderr.strip().splitlines()[-1:] or ["nothing on its standard error"]
            raise ProcessFailedError(f"exit code {ended.returncode}: {last[0]}") from None
