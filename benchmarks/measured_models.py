"""What is measured: the engines of each model, the program that runs them, and their rows before measuring."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import ReferenceScores
from benchmarks.device.output import ScoreResult
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import Run
from benchmarks.rows import unmeasured_row
from benchmarks.schema import STUDENT, Kind, Row, ScoreSource
from export.bundle.bundle import read_bundle


@dataclass(frozen=True)
class ScoredEngines:
    """Scores of the test set in folder/ROW.npy, and where they were computed."""

    source: ScoreSource
    folder: Path
    results: Mapping[str, ScoreResult]  # by row


@dataclass(frozen=True)
class Bundle:
    """A bundle to measure: that of a student (kind "engine") or of a reference.

    The first one has model "student" and is deployed; other students of a search have names such as "fastest".
    """

    folder: Path
    model: str
    kind: Kind = "engine"
    reference: ReferenceScores | None = None
    scored: ScoredEngines | None = None  # its scores, if another stage computed them


@dataclass(frozen=True)
class MeasuredEngine:
    """A row to fill; its program knows it as `engine`."""

    engine: str
    row: Row
    thresholds: Sequence[float]
    unavailable_reason: str | None = None  # why it cannot run on the device

    @property
    def name(self) -> str:
        """The name of the row."""
        return self.row.name

    @property
    def is_deployed(self) -> bool:
        """Whether it is no reference."""
        return self.row.kind == "engine"


@dataclass(frozen=True)
class MeasuredModel:
    """Engines of one model that one program times and scores."""

    program: Run
    engines: tuple[MeasuredEngine, ...]
    reference: ReferenceScores | None = None
    scored: ScoredEngines | None = None

    @property
    def runnable(self) -> tuple[MeasuredEngine, ...]:
        """The engines that the device can run."""
        return tuple(engine for engine in self.engines if engine.unavailable_reason is None)


def refusing(reason: str) -> Run:
    """Return the program of rows that cannot be filled."""

    def run(*_: str, **__: Any) -> Any:
        raise ProcessFailedError(reason)

    return run


def model_of_bundle(
    bundle: Bundle,
    program: Run,
    reasons: Mapping[str, str | None],
    *,
    device: str,
    threads: int,
    runtimes: Collection[str] = (),
) -> MeasuredModel:
    """Return the engines of a bundle that was copied to a device.

    Args:
        bundle: the bundle; BundleError if it cannot be read.
        program: its tagger.pyz on the device.
        reasons: by engine, why it cannot run there.
        device: name of the device.
        threads: of each engine.
        runtimes: only engines of these; empty: of all.
    """
    manifest = read_bundle(bundle.folder, verify=False)  # its hashes were checked when it was copied
    engines = []
    for entry in manifest.engines:
        if runtimes and entry.backend["kind"] not in runtimes:
            continue
        name = row_name(bundle, entry.name)
        row = unmeasured_row(
            manifest, entry, device=device, name=name, model=bundle.model, kind=bundle.kind, threads=threads
        )
        engines.append(MeasuredEngine(entry.name, row, entry.thresholds, reasons.get(entry.name)))
    return MeasuredModel(program, tuple(engines), bundle.reference, bundle.scored)


def row_name(bundle: Bundle, engine: str) -> str:
    """Return the name of an engine's row: it begins with the model, except for the student that is deployed."""
    return engine if bundle.kind == "engine" and bundle.model == STUDENT else f"{bundle.model}-{engine}"
