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
from mlkd.models import checkpoint
from mlkd.models.config import Model
from mlkd.training.config import Training
from pipeline.runner.stage import Context
from pipeline.search import objective, race, study, trainings
from pipeline.search.candidates import Candidate
from pipeline.search.objective import Setting
from pipeline.search.promotion import Truth
from pipeline.search.race_rows import RACE, Race, RaceRow, read_race
from pipeline.search.rows import Latency
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
    assert track.continuable() == {"a", "b", "c", "d"}, "the finals continue them"
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
    assert track.continuable() == set(NAMES)
    track.start_anew()
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
    track.start_anew()
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
    assert [path.name for path in track.folders["b"].glob("*.*") if path.name != trainings.CLAIM] == ["select.1.npz"]


def test_another_race_trains_only_what_is_new(track: Track) -> None:
    whole = track.run(minutes=20)
    track.start_anew()
    track.run(minutes=5)
    before = track.trained.copy()
    for minutes, ranking in ((2, ["b", "a", "c", "d"]), (4, ["b", "d", "a", "c"])):
        shutil.rmtree(track.out)
        result = track.run(minutes=minutes)
        assert track.trained == before, "all has been trained, and counts"
        assert result.ranking == ranking
        assert row(result, "d", 2 if minutes == 4 else 1).reason == f"the {minutes} minutes of the search are used up"
    shutil.rmtree(track.out)
    assert track.run(minutes=20) == whole, "as if it had been one race"
    assert track.trained == [*before, ("d", 2), ("b", 4)]
    assert track.continued == {"b", "d"}
    shutil.rmtree(track.out)
    track.run(names=("new", *NAMES))
    assert track.trained[len(before) + 2 :] == [("new", 1), ("new", 2), ("d", 4)], "three of five go on"
    assert track.continued == {"b", "d", "new"}


def test_a_candidate_without_a_place_in_the_race_keeps_its_scores_only(track: Track) -> None:
    track.run()
    shutil.rmtree(track.out)
    track.run(names=("b", "c"))
    assert track.continuable() == {"b", "c"}
    shutil.rmtree(track.out)
    before = track.trained.copy()
    track.run()
    assert track.trained == before


def test_a_training_that_was_removed_is_made_again(track: Track) -> None:
    """Also in a race that was interrupted after it had reported it."""
    whole = track.run()
    shutil.rmtree(track.folders["d"])
    (track.out / RACE).unlink()
    before = track.trained.copy()
    assert track.run() == whole
    assert track.trained == [*before, ("d", 1), ("d", 2)]


@pytest.mark.parametrize("damage", [b"", b"half", None])
def test_damaged_scores_are_trained_again(track: Track, damage: bytes | None) -> None:
    """Also those of a race that was interrupted after it had reported them; None is one byte of the scores."""
    whole = track.run()
    file = trainings.rung_file(track.folders["d"], 1)
    content = bytearray(file.read_bytes())
    content[300] ^= 1
    file.write_bytes(content if damage is None else damage)
    (track.out / RACE).unlink()
    before = track.trained.copy()
    assert track.run() == whole
    assert track.trained == [*before, ("d", 1), ("d", 2)]
    assert track.continued == {"b", "d"}, "not from a checkpoint that is further"


def test_a_full_disk_ends_the_race_and_is_no_fault_of_the_candidate(track: Track) -> None:
    track.faults["c"] = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        track.run()
    del track.faults["c"]
    assert track.run().ranking == ["b", "d", "a", "c"]
    assert track.trained.count(("a", 1)) == 1


def test_a_race_killed_at_any_change_of_the_disk_goes_on(track: Track) -> None:
    """No finished training is done again, and none is lost; the killed one may have ended unseen."""
    whole = track.run(minutes=7)
    for step in range(0, 1000, 43):
        track.start_anew()
        (track.folder / "trained.txt").unlink()
        if not killed_before(step, lambda: track.run(minutes=7)):
            break
        assert track.run(minutes=7) == whole
        trained = (track.folder / "trained.txt").read_text().splitlines()
        assert len(set(trained)) == 6
        assert len(trained) <= 7
    assert step > 100, "the race makes many changes"


def test_a_second_worker_takes_the_candidates_that_the_first_has_not_at_work(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trains while the first is busy with `a`, and then waits for it."""
    whole, alone = track.run(), track.trained
    track.start_anew()
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
    (track.out / f"{study.FILE}.lock").symlink_to("nothing")
    with (track.out / study.FILE).open("a") as file:
        file.write('{"op_code": 9, "worker')
    assert track.run() == whole
