"""Check the clock of a thorough bench against OpenVINO's benchmark_app: runs scripts/agreement.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measured_models import Bundle, row_name
from benchmarks.parsing import parse
from benchmarks.sections import Agreement
from export.bundle.bundle import read_bundle
from mlkd.core.json_text import parse_json

SCRIPT = Path(__file__).parents[2] / "scripts" / "agreement.py"
TIMEOUT_S = 120.0  # the script takes about 20 s


class AgreementError(ValueError):
    """The check could not be made; the message says why."""


def find_script() -> Path:
    """Return the path of the script; raises AgreementError where the package is installed without a checkout."""
    if not SCRIPT.is_file():
        raise AgreementError(
            f"{SCRIPT}: file not found. A thorough bench runs this script, which only a checkout of the project has. "
            "Run the command in a checkout, or without --thorough."
        )
    return SCRIPT


def check_agreement(bundles: Sequence[Bundle], threads: int) -> Agreement | None:
    """Compare our engine-only times with those of benchmark_app.

    The check takes the largest model that OpenVINO runs in float: the call from Python, which benchmark_app leaves
    out, is the smallest share of its time.  Without such a model, the result is None.  Raises AgreementError.
    """
    rows: dict[Path, str] = {}
    for bundle in bundles:
        for entry in read_bundle(bundle.folder, verify=False).engines:
            if (entry.backend["kind"], entry.precision, entry.backend.get("compute")) == ("openvino", "fp32", "f32"):
                rows[bundle.folder / entry.file] = row_name(bundle, entry.name)
    if not rows:
        return None
    largest = max(rows, key=lambda file: file.with_suffix(".bin").stat().st_size)
    return parse(Agreement, {**run_script(largest, threads), "engine": rows[largest]})


def run_script(model: Path, threads: int, *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run the script in a process of its own and return the facts that it prints; raises AgreementError if it fails."""
    command = [sys.executable, str(find_script()), str(model.resolve()), "--threads", str(threads), "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except BaseException as cause:
            os.killpg(process.pid, signal.SIGKILL)  # benchmark_app too, which may be stopped
            if isinstance(cause, subprocess.TimeoutExpired):
                raise AgreementError(f"no result within {timeout_s:g} s; the model is too slow for the check") from None
            raise
    try:
        facts: dict[str, Any] = parse_json(out.splitlines()[-1])
    except (ValueError, IndexError):
        raise AgreementError((err.strip().splitlines() or ["the script printed nothing"])[-1]) from None
    return facts
