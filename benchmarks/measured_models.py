"""What is measured: the rows that one program can fill, with what is known of each before it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import Run
from benchmarks.rows import facts
from export.bundle.bundle import read_bundle


@dataclass(frozen=True)
class Float:
    """What the net in float says of the test set: its scores (N, L) and thresholds (L,)."""

    scores: NDArray[np.float32]
    thresholds: NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """Scores that another machine, or another stage, made of the test set: folder/ROW.npy."""

    device: str
    instruction_set: str
    folder: Path
    told: Mapping[str, Any]  # by row: what the program that made them said


@dataclass(frozen=True)
class Bundle:
    """A bundle to measure: the student's, which ships, or a reference, whose `scored` are taken if it has some."""

    folder: Path
    model: str
    kind: str = "engine"
    net: Float | None = None
    scored: Scored | None = None


@dataclass(frozen=True)
class Candidate:
    """A row to fill; its program knows it as `engine`."""

    engine: str
    row: Mapping[str, Any]
    thresholds: Sequence[float]
    lacks: str | None = None  # why it cannot run there

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def ships(self) -> bool:
        """Whether it is no reference."""
        return bool(self.row["kind"] == "engine")


@dataclass(frozen=True)
class Subject:
    """Candidates of one net that one program times and scores."""

    program: Run
    candidates: tuple[Candidate, ...]
    net: Float | None = None
    scored: Scored | None = None
    able: tuple[Candidate, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "able", tuple(one for one in self.candidates if one.lacks is None))


def refusing(reason: str) -> Run:
    """The program of rows that cannot be filled."""

    def run(*_: str, **__: Any) -> Any:
        raise ProcessFailedError(reason)

    return run


def of_bundle(
    bundle: Bundle,
    program: Run,
    lacking: Mapping[str, str | None],
    *,
    device: str,
    threads: int,
    runtimes: Collection[str] = (),
) -> Subject:
    """The engines of a placed bundle on a device: `program` is its tagger.pyz there, `lacking` what `info` said.

    Those of other `runtimes` are left out if any are named.  Raises BundleError.
    """
    manifest = read_bundle(bundle.folder, verify=False)  # its hashes were checked when it was placed
    candidates = []
    for entry in manifest.engines:
        if runtimes and entry.backend["kind"] not in runtimes:
            continue
        row = facts(manifest, entry, device=device, model=bundle.model, kind=bundle.kind, threads=threads)
        row["name"] = row_name(bundle, entry.name)
        candidates.append(Candidate(entry.name, row, entry.thresholds, lacking.get(entry.name)))
    return Subject(program, tuple(candidates), bundle.net, bundle.scored)


def row_name(bundle: Bundle, engine: str) -> str:
    """What the row of an engine is called: those of references have their model in front."""
    return engine if bundle.kind == "engine" else f"{bundle.model}-{engine}"
