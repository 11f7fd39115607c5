"""A kill while the result of another recipe is reused."""

import itertools
import shutil
from pathlib import Path

import pytest

from pipeline.runner.stage import Context
from tests.helpers.kills import killed_before
from tests.helpers.recorder import Recorder, assert_whole


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_at_any_change_of_the_disk_leaves_both_whole(
    one: Recorder, two: Recorder, moved: bool, tmp_path: Path
) -> None:
    """The same command then ends as usual, also if the other recipe is gone; it has unfinished work of its own."""
    with pytest.raises(KeyboardInterrupt):
        two.run(force="first", run=interrupt)
    for recorder in (one, two):
        shutil.copytree(recorder.folder, tmp_path / recorder.folder.name)
    elsewhere = Recorder(tmp_path / "elsewhere")
    for step in itertools.count(int(moved), 2):  # every other change, so that both cases together try all
        for recorder in (one, two, elsewhere):
            shutil.rmtree(recorder.folder, ignore_errors=True)
        for recorder in (one, two):
            shutil.copytree(tmp_path / recorder.folder.name, recorder.folder)
        killed = killed_before(step, two.run)
        if moved:
            one.folder.rename(elsewhere.folder)
        two.run()
        assert_whole(two)
        assert_whole(elsewhere if moved else one)
        if not killed:
            break
    assert step > 10


def interrupt(context: Context) -> None:
    (context.out / "text.txt").write_text("half")
    raise KeyboardInterrupt
