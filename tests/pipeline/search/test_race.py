"""The rungs of a race, with trainings that only write down that they ran and scores that we make up."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from mlkd.core.progress import silent
from mlkd.data.augment import Views
from mlkd.models.config import Model
from mlkd.training.config import Training
from pipeline.runner.stage import Context
from pipeline.search import objective, race, study
from pipeline.search.candidates import Candidate
from pipeline.search.objective import Setting
from pipeline.search.promotion import Truth
from pipeline.search.race_rows import CANDIDATES, RACE, Race, RaceRow, read_race
from tests.helpers.kills import killed_before

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
    now_s: float = 0.0

    @property
    def out(self) -> Path:
        return self.folder / "race"

    def run(self, minutes: float = 60.0, names: tuple[str, ...] = NAMES, *, joins: bool = False) -> Race:
        self.out.mkdir(exist_ok=True)
        entrants = {name: Candidate(name=name, model=Model(backbone="test_resnet", image_px=32)) for name in names}
        p90_ms = {**{name: float(place) for place, name in enumerate(names, 1)}, "e": 9.0}
        setting = Setting(
            training=TRAINING,
            views=Views(),
            seed=0,
            images=self.folder,
            teacher_outputs=self.folder,
            teacher=None,
            features=self.folder,
            out=self.out / CANDIDATES,
        )
        race.run(entrants, p90_ms, {"e": "d is larger"}, setting, minutes, Context(self.out, {}, silent), joins=joins)
        return read_race(self.out)

    def train(self, _model: Model, _setting: Setting, out: Path, epochs: int, _progress: Any) -> None:
        if fault := self.faults.get(out.name):
            raise fault
        self.now_s += 60 * epochs
        self.trained.append((out.name, epochs))
        with (self.folder / "trained.txt").open("a") as file:
            file.write(f"{out.name} {epochs}\n")
        (out / "last.safetensors").write_bytes(b"weights")

    def score(self, folder: Path, _split: Any) -> Any:
        return GOOD if folder.name in self.good else 1 - GOOD

    def states(self) -> dict[str, TrialState]:
        pruner = study.Halving({}, self.out, Truth(targets=TARGETS, groups=()))
        opened, _ = study.open_study(self.out, pruner, NAMES, joins=True)
        return {trial.params["candidate"]: trial.state for trial in opened.trials}


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Track]:
    names = [f"image {row}" for row in range(len(TARGETS))]
    lists = {"names": names, "files": names, "groups": names, "sha256": names}
    (tmp_path / "select.json").write_text(json.dumps({**lists, "shared": [], "boxes": [[]] * len(names)}))
    (tmp_path / "labels.json").write_text('["tag"]')
    np.save(tmp_path / "select.targets.npy", TARGETS)
    made = Track(tmp_path)
    monkeypatch.setattr(objective, "_train", made.train)
    monkeypatch.setattr(objective.evaluate, "score_folder", made.score)
    monkeypatch.setattr(race.time, "monotonic", lambda: made.now_s)
    return made


def row(result: Race, candidate: str, epochs: int | None = None) -> RaceRow:
    (found,) = (one for one in result.rows if (one.candidate, one.epochs) == (candidate, epochs))
    return found


def test_each_rung_keeps_the_better_half(track: Track) -> None:
    result = track.run()
    assert track.trained == [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("b", 2), ("d", 2), ("b", 4)]
    assert result.ranking == ["b", "d", "a", "c"], "a and c are equally bad, and a is faster"
    first = row(result, "b", 1)
    assert (first.rung, first.beaten_by, first.promoted, first.reason) == (1, [], True, None)
    assert first.select_map is not None
    assert (first.select_map.value, first.p90_ms) == (1.0, 2.0)
    assert (row(result, "c", 1).beaten_by, row(result, "c", 1).reason) == (["a", "b", "d"], "beaten by 3 of 3")
    assert not row(result, "d", 2).promoted
    assert row(result, "b", 4).promoted
    assert row(result, "e").reason == "d is larger"
    assert [path.name for path in (track.out / CANDIDATES).iterdir()] == ["b"], "what was trained in the last rung"
    pruned = dict.fromkeys(("a", "c", "d"), TrialState.PRUNED)
    assert track.states() == {**pruned, "b": TrialState.COMPLETE}


def test_no_training_begins_when_the_minutes_are_used_up(track: Track, caplog: pytest.LogCaptureFixture) -> None:
    result = track.run(minutes=5)
    assert track.trained == [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("b", 2)]
    assert result.ranking == ["b", "d", "a", "c"]
    assert row(result, "d", 2).reason == "the 5 minutes of the search are used up"
    assert not row(result, "b", 2).promoted, "nothing was compared"
    assert "used up; not trained for 2 epochs: d" in caplog.text
    assert track.states()["d"] == TrialState.COMPLETE
    shutil.rmtree(track.out)
    track.run(minutes=4)
    assert {path.name for path in (track.out / CANDIDATES).iterdir()} == set(NAMES), "no second rung began"
    shutil.rmtree(track.out)
    result = track.run(minutes=2)
    assert result.ranking == ["b", "a", "c", "d"], "what was trained comes first, then the faster"
    assert {name: state.name for name, state in track.states().items()} == {
        "a": "COMPLETE", "b": "COMPLETE", "c": "FAIL", "d": "FAIL",
    }  # fmt: skip


def test_a_candidate_that_cannot_be_trained_is_a_line(track: Track) -> None:
    track.faults["b"] = ValueError("loss reviewkd: expected a student with\n a trainable stage")
    result = track.run()
    assert row(result, "b", 1).reason == "loss reviewkd: expected a student with a trainable stage"
    assert result.ranking == ["d", "a", "c"]
    assert track.states()["b"] == TrialState.FAIL
    shutil.rmtree(track.out)
    track.faults = dict.fromkeys(NAMES, RuntimeError("diverged"))
    with pytest.raises(
        ValueError, match="search: expected a candidate that can be trained, got none of 4; a: diverged"
    ):
        track.run()


def test_a_candidate_that_fails_in_a_later_rung_is_the_last_of_the_ranking(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(model: Model, setting: Setting, out: Path, epochs: int, progress: Any) -> None:
        if (out.name, epochs) == ("b", 2):
            raise RuntimeError("diverged")
        track.train(model, setting, out, epochs, progress)

    monkeypatch.setattr(objective, "_train", diverges)
    result = track.run()
    assert result.ranking == ["d", "a", "c", "b"]
    assert (row(result, "b", 1).promoted, row(result, "b", 2).reason) == (True, "diverged")


def test_a_full_disk_ends_the_race_and_is_no_fault_of_the_candidate(track: Track) -> None:
    track.faults["c"] = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        track.run()
    del track.faults["c"]
    assert track.run().ranking == ["b", "d", "a", "c"]
    assert track.trained.count(("a", 1)) == 1


def test_a_race_killed_at_any_change_of_the_disk_goes_on(track: Track) -> None:
    """No finished training is done again, and none is lost; the killed one may have ended unseen."""
    whole = track.run()
    for step in range(0, 1000, 43):
        shutil.rmtree(track.out)
        (track.folder / "trained.txt").unlink()
        if not killed_before(step, track.run):
            break
        assert track.run() == whole
        trained = (track.folder / "trained.txt").read_text().splitlines()
        assert len(set(trained)) == 7
        assert len(trained) <= 8
    assert step > 100, "the race makes many changes"


def test_a_second_worker_takes_the_candidates_that_the_first_has_not_at_work(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains while the first is busy with `a`, and then waits for it."""
    whole, alone = track.run(), track.trained
    shutil.rmtree(track.out)
    track.trained = []
    train, others = track.train, list[tuple[str, int]]()

    class Waiting(Exception):  # noqa: N818  (no error)
        pass

    def wait(_seconds: float) -> None:
        raise Waiting

    def busy(model: Model, setting: Setting, out: Path, epochs: int, progress: Any) -> None:
        if (out.name, epochs) == ("a", 1):
            with pytest.raises(Waiting):
                track.run(joins=True)
            others.extend(track.trained)
        train(model, setting, out, epochs, progress)

    monkeypatch.setattr(race.time, "sleep", wait)
    monkeypatch.setattr(objective, "_train", busy)
    assert track.run() == whole
    assert others == [("b", 1), ("c", 1), ("d", 1)]
    assert sorted(track.trained) == sorted(alone), "nothing twice"
    shutil.rmtree(track.out)
    with pytest.raises(ValueError, match=r"race: expected 4 candidates in .*study.log, got 0; rerun"):
        track.run(joins=True)


def test_what_a_killed_process_left_of_the_journal_is_removed(track: Track) -> None:
    whole = track.run()
    (track.out / RACE).unlink()
    shutil.rmtree(track.out / CANDIDATES)
    for name in NAMES:
        (track.out / CANDIDATES / name).mkdir(parents=True)
        for epochs in (1, 2, 4):
            np.save(objective.scores_file(track.out / CANDIDATES, name, epochs), track.score(Path(name), None))
    (track.out / f"{study.FILE}.lock").symlink_to("nothing")
    with (track.out / study.FILE).open("a") as file:
        file.write('{"op_code": 9, "worker')
    assert track.run() == whole
