"""Runs the self-test of a bundle with its own program, in a separate process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from export.bundle.bundle import PROGRAM
from export.errors import BundleError
from mlkd.core.processes import child_environment

TIMEOUT_S = 600.0


def self_test(folder: Path, key: Path | None = None) -> None:
    """Raise BundleError unless the golden images of the bundle give the expected results on this device."""
    signed = [] if key is None else ["--require-signature", str(key.resolve())]
    command = [sys.executable, str(folder.resolve() / PROGRAM), "selftest", "--any-engine", *signed]
    try:
        process = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, cwd=os.sep,
            env=child_environment(), timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _failed(f"no answer within {TIMEOUT_S:g} s") from None
    if process.returncode:
        lines = (process.stdout.strip() or process.stderr.strip()).decode(errors="replace").splitlines()
        raise _failed(lines[-1] if lines else f"exit code {process.returncode}")


def _failed(got: str) -> BundleError:
    return BundleError(f"self-test: expected the bundle to pass on this device, got: {got}; the current version stays")
