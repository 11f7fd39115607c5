"""Two workers, each a process of its own, that train the candidates of one race."""

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from mlkd.core.locks import claimed
from pipeline.recipe.schema import load_recipe
from pipeline.search import race_stages
from pipeline.search.race_rows import Race, SelectMap, read_race
from pipeline.search.trainings import CLAIM, rung_file
from tests.helpers import commands
from tests.helpers.drawings import with_search

STUDENTS = "backbone: [test_resnet, test_efficientnet, test_byobnet], image_px: 32, head: {kind: pooled}"


@pytest.mark.slow
@pytest.mark.usefixtures("load_in_process")
def test_two_workers_share_the_trainings_of_a_race(drawn: Path, place: Path) -> None:
    """The second begins when the first has trained one candidate, and trains another while the first stands still."""
    text = with_search(drawn, f"max_p90_ms: 1000, students: {{{STUDENTS}}}").replace("epochs: 2", "epochs: 3")
    (place / "tiny.yaml").write_text(text)
    recipe = load_recipe("tiny.yaml")
    searching = race_stages.pipeline(recipe, Path("runs/tiny.search"))
    searching.run()
    result, work = (searching.folder / name for name in (race_stages.RESULT, race_stages.WORK))
    alone = read_race(result)
    assert {row.epochs for row in alone.rows} == {1, 2}
    shutil.rmtree(result)
    shutil.rmtree(work)
    folders = race_stages.training_folders(recipe, race_stages.candidates_of(recipe), searching.folder)
    first, second, third = (row.candidate for row in alone.rows if row.epochs == 1)
    with ExitStack() as started, ExitStack() as last, ExitStack() as both:
        for name, held in ((second, both), (third, last)):
            folders[name].mkdir(parents=True)
            assert held.enter_context(claimed(folders[name] / CLAIM))
        worker = start(place, started, "worker.txt")
        wait_until(lambda: f"race: {first}, epochs 1" in worker.log.read_text())
        os.kill(worker.process.pid or 0, signal.SIGSTOP)
        other = start(place, started, "other.txt", "--join")
        both.close()
        wait_until(lambda: f"race: {second}, epochs 1" in other.log.read_text())
        assert not rung_file(folders[third], 1).is_file()
        os.kill(worker.process.pid or 0, signal.SIGCONT)
        last.close()
        assert other.wait()[0] == 0
        wait_until(lambda: (result / "stage.json").is_file())
    assert rounded(read_race(result)) == rounded(alone)
    logs = [log.read_text() for log in (worker.log, other.log)]
    for row in (row for row in alone.rows if row.select_map):
        assert sum(f"race: {row.candidate}, epochs {row.epochs}: " in log for log in logs) == 1, "trained once"


def rounded(race: Race) -> Race:
    """A race without the last digits of its intervals, which depend on where numpy places its arrays."""
    rows = [
        dataclasses.replace(row, select_map=SelectMap(**{k: round(v, 12) for k, v in vars(row.select_map).items()}))
        for row in race.rows
        if row.select_map
    ]
    assert len(rows) == len(race.rows), "all were trained"
    return Race(rows=rows, ranking=race.ranking)


def start(place: Path, started: ExitStack, log_name: str, *options: str) -> commands.Started:
    """Start a search that ends with the test, before its finals."""
    worker = commands.start(place, "search", "--recipe", "tiny.yaml", *options, log_name=log_name)
    started.callback(lambda: worker.kill() if worker.running() else None)
    return worker


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(3000):
        if done():
            return
        time.sleep(0.1)
    raise TimeoutError("expected an end within five minutes")
