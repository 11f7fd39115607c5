"""A race whose trainings only write down that they ran, and whose scores are made up."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.training.config import Training
from pipeline.runner.stage import Context
from pipeline.search import objective, race, study
from pipeline.search.candidates import Candidate
from pipeline.search.objective import Setting
from pipeline.search.promotion import Truth
from pipeline.search.race_rows import Race, RaceRow, read_race
from pipeline.search.rows import Latency

TARGETS = np.tile(np.array([[1], [0]], dtype=np.uint8), (30, 1))
GOOD = TARGETS.astype(np.float32)
NAMES = ("a", "b", "c", "d")  # from the fastest to the slowest
TRAINING = Training(epochs=5, learning_rate=1e-3)  # rungs of 1, 2 and 4 epochs


@dataclass
class Track:
    """Candidates of which some are good, and trainings of a minute an epoch."""

    folder: Path
    good: set[str] = field(default_factory=lambda: {"b", "d"})
    faults: dict[str, Exception] = field(default_factory=dict)
    trained: list[tuple[str, int]] = field(default_factory=list)
    continued: set[str] = field(default_factory=set)
    now_s: float = 0.0

    @property
    def out(self) -> Path:
        return self.folder / "race"

    @property
    def folders(self) -> dict[str, Path]:
        return {name: self.folder / "race.work" / name for name in ("a", "b", "c", "d", "new")}

    def run(self, minutes: float = 60.0, names: tuple[str, ...] = NAMES, *, joins: bool = False) -> Race:
        self.out.mkdir(exist_ok=True)
        entrants = {name: Candidate(name=name, model=Model(backbone="test_resnet", image_px=32)) for name in names}
        times = {**{name: float(place) for place, name in enumerate(names, 1)}, "e": 9.0}
        latency = {name: Latency(p90_ms=time, bound_ms=time) for name, time in times.items()}
        setting = Setting(
            training=TRAINING,
            views=Views(),
            seed=0,
            images=self.folder,
            teacher_outputs=self.folder,
            teacher=None,
            features=self.folder,
            folders=self.folders,
        )
        race.run(entrants, latency, {"e": "d is larger"}, setting, minutes, Context(self.out, {}, silent), joins=joins)
        return read_race(self.out)

    def train(self, _model: Model, _setting: Setting, out: Path, epochs: int, _progress: Any) -> None:
        if fault := self.faults.get(out.name):
            raise fault
        self.now_s += 60 * epochs
        self.trained.append((out.name, epochs))
        with (self.folder / "trained.txt").open("a") as file:
            file.write(f"{out.name} {epochs}\n")
        self.continued |= {out.name} if (out / checkpoint.LAST).is_file() else set()
        checkpoint.write(out / checkpoint.LAST, {}, {"best_epoch": 0})

    def score(self, folder: Path, _split: Any) -> Any:
        return GOOD if folder.name in self.good else 1 - GOOD

    def start_anew(self) -> None:
        """Remove the result and the trainings."""
        shutil.rmtree(self.out)
        shutil.rmtree(self.folder / "race.work")
        self.trained = []

    def continuable(self) -> set[str]:
        return {name for name, folder in self.folders.items() if (folder / checkpoint.LAST).is_file()}

    def states(self) -> dict[str, TrialState]:
        pruner = study.Halving({}, {}, Truth(targets=TARGETS, groups=()))
        opened, _ = study.open_study(self.out, pruner, NAMES, joins=True)
        return {trial.params["candidate"]: trial.state for trial in opened.trials}


def set_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Track:
    """Write the data that a race reads, and put the trainings of a track in place of the real ones."""
    names = [f"image {row}" for row in range(len(TARGETS))]
    lists = {"names": names, "files": names, "groups": names, "sha256": names}
    (folder / "select.json").write_text(json.dumps({**lists, "shared": [], "boxes": [[]] * len(names)}))
    (folder / "labels.json").write_text('["tag"]')
    np.save(folder / "select.targets.npy", TARGETS)
    made = Track(folder)
    monkeypatch.setattr(objective, "_train", made.train)
    monkeypatch.setattr(objective.evaluate, "score_folder", made.score)
    monkeypatch.setattr(race.time, "monotonic", lambda: made.now_s)
    return made


def row(result: Race, candidate: str, epochs: int | None = None) -> RaceRow:
    (found,) = (one for one in result.rows if (one.candidate, one.epochs) == (candidate, epochs))
    return found
