"""A diagnosis in plain text."""

from __future__ import annotations

from benchmarks.doctor.diagnosis import Diagnosis
from benchmarks.doctor.findings import Finding

NAMED = 4  # layers of a finding that are named


def render(diagnosis: Diagnosis) -> str:
    """The two times, the findings, the verdict and what to change."""
    head = (
        f"{diagnosis.int8} ({diagnosis.runtime}): {diagnosis.int8_ms:.2f} ms, "
        f"{diagnosis.plain}: {diagnosis.plain_ms:.2f} ms"
    )
    return "\n".join(
        [
            head,
            *(_line(finding) for finding in diagnosis.findings),
            f"  verdict: {diagnosis.verdict}",
            f"  change:  {diagnosis.change}",
        ]
    )


def _line(finding: Finding) -> str:
    more = len(finding.layers) - NAMED
    names = ", ".join(finding.layers[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"  {finding.share:4.0%}  {finding.cause}: {finding.text}\n        {names}"
