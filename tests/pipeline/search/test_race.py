"""The rungs of a race, with trainings that only write down that they ran and scores that we make up."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mlkd.models.config import Model
from pipeline.search import objective, race, trainings
from pipeline.search.objective import Setting
from tests.helpers.kills import killed_before
from tests.helpers.race_track import NAMES, Track, row


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
