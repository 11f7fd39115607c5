"""An int8 engine beside a float one of the same runtime: both timed in turns, and what the int8 one's profile says."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.device import timing
from benchmarks.doctor import onnxruntime, openvino
from benchmarks.doctor.findings import Finding, find
from benchmarks.doctor.layers import Layer, noise
from export.backends import Backend, OnnxRuntime, OpenVino, Session

FASTER = 1.2  # times float: less is no gain worth the accuracy
WARM_UP_S, TURNS, QUERIES = 1.0, 15, 8
NAMED = 4  # layers of a finding that are named


@dataclass(frozen=True, kw_only=True)
class Built:
    """An engine that was compiled: `precision` is its graph's."""

    name: str
    precision: str
    backend: Backend
    file: Path


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Milliseconds are medians of one image; `findings` begin with the largest share of the int8 engine's time."""

    int8: str
    plain: str
    runtime: str
    int8_ms: float
    plain_ms: float
    verdict: str
    change: str
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        """The two times, the findings, the verdict and what to change."""
        times = f"{self.int8_ms:.2f} ms, {self.plain}: {self.plain_ms:.2f} ms"
        findings = "\n".join(map(_describe, self.findings))
        verdict = f"  verdict: {self.verdict}\n  change:  {self.change}"
        return "\n".join(filter(None, (f"{self.int8} ({self.runtime}): {times}", findings, verdict)))


def _describe(finding: Finding) -> str:
    more = len(finding.layers) - NAMED
    names = ", ".join(finding.layers[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"  {finding.share:4.0%}  {finding.cause}: {finding.text}\n        {names}"


def pairs(engines: Sequence[Built]) -> tuple[list[tuple[Built, Built]], dict[str, str]]:
    """Each int8 engine with the float engine to hold it against, and why others cannot be examined, by name."""
    found, lacking = [], {}
    for engine in engines:
        if not engine.precision.startswith("int8"):
            continue
        reason = unreadable_reason(engine.backend)
        twins = [other for other in engines if other.precision == "fp32" and other.backend == engine.backend]
        if reason is None and not twins:
            reason = f"no fp32 engine of {engine.backend.kind} to hold it against"
        if reason is None:
            found.append((engine, twins[0]))
        else:
            lacking[engine.name] = reason
    return found, lacking


def unreadable_reason(backend: Backend) -> str | None:
    """Say why the layers of an engine cannot be read here; None if they can."""
    if isinstance(backend, OnnxRuntime | OpenVino) and backend.device != "cuda":
        return backend.unavailable_reason()
    if isinstance(backend, OnnxRuntime):
        return "onnxruntime on cuda: its profile times the launch of a kernel, not the kernel"
    return backend.unavailable_reason() or f"{backend.kind}: its profile is not read"


def diagnose(int8: Built, plain: Built) -> Diagnosis:
    """Time both for seconds and say why int8 is no faster, or that it is."""
    with int8.backend.open(int8.file) as slow, plain.backend.open(plain.file) as fast:
        int8_ms, plain_ms = _times(slow, fast)
        runtime = f"{slow.runtime_info.version}, {slow.runtime_info.device}"
    findings = find(read_layers(int8), read_layers(plain), int8.precision)
    verdict, change = judge(int8_ms, plain_ms, findings)
    return Diagnosis(
        int8=int8.name,
        plain=plain.name,
        runtime=runtime,
        int8_ms=int8_ms,
        plain_ms=plain_ms,
        verdict=verdict,
        change=change,
        findings=findings,
    )


def judge(int8_ms: float, plain_ms: float, findings: Sequence[Finding]) -> tuple[str, str]:
    """The verdict and what to change, in a line each."""
    gain = plain_ms / int8_ms
    speed = f"{gain:.2f} times as fast as float"
    if gain >= FASTER:
        return f"{speed}: int8 pays", "nothing"
    if not findings:
        return f"{speed}: its profile shows no cause", "take a larger net: this one is over before int8 can gain"
    return f"{speed}: {findings[0].share:.0%} of its time is in {findings[0].text}", findings[0].change


def read_layers(engine: Built) -> list[Layer]:
    """Read the layers of an engine of ONNX Runtime or OpenVINO from a profile that is made now."""
    if isinstance(engine.backend, OnnxRuntime):
        return onnxruntime.layers(engine.file, engine.backend)
    assert isinstance(engine.backend, OpenVino)
    return openvino.layers(engine.file, engine.backend)


def _times(first: Session, second: Session) -> tuple[float, float]:
    """Medians in ms of one image each, taken in turns, so that a busy machine slows both."""
    image = noise(first.image)
    sessions: tuple[Session, Session] = (first, second)
    samples: tuple[list[float], list[float]] = ([], [])
    for session in sessions:
        timing.warm_up(lambda session=session: session(image), cap_s=WARM_UP_S)  # type: ignore[misc]
    for _ in range(TURNS):
        for session, times in zip(sessions, samples, strict=True):
            times += timing.time_queries([("", session)], itertools.repeat(image, QUERIES)).whole.tolist()
    return float(np.median(samples[0])), float(np.median(samples[1]))
