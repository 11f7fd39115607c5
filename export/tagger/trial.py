"""A bundle's self-test in a process of its own program, as it will be run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from export.bundle.bundle import PROGRAM
from export.errors import BundleError
from mlkd.core.processes import child_environment

LIMIT_S = 600.0


def self_test(folder: Path, key: Path | None = None) -> None:
    """Raise BundleError unless the bundle's golden images come out here as they did when it was made."""
    signed = [] if key is None else ["--require-signature", str(key.resolve())]
    command = [sys.executable, str(folder.resolve() / PROGRAM), "selftest", "--any-engine", *signed]
    try:
        ended = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, cwd=os.sep,
            env=child_environment(), timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _failed(f"no answer within {LIMIT_S:g} s") from None
    if ended.returncode:
        said = (ended.stdout.strip() or ended.stderr.strip()).decode(errors="replace").splitlines()
        raise _failed(said[-1] if said else f"exit code {ended.returncode}")


def _failed(got: str) -> BundleError:
    return BundleError(f"self-test: expected that the bundle passes on this device, got: {got}; what was there stays")
