"""Another race takes the trainings of an earlier one, as far as they are whole."""

import shutil

import pytest

from pipeline.search import study, trainings
from pipeline.search.race_rows import RACE
from tests.helpers.race_track import NAMES, Track, row


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


def test_what_a_killed_process_left_of_the_journal_is_removed(track: Track) -> None:
    whole = track.run()
    (track.out / RACE).unlink()
    (track.out / f"{study.FILE}.lock").symlink_to("nothing")
    with (track.out / study.FILE).open("a") as file:
        file.write('{"op_code": 9, "worker')
    assert track.run() == whole
