"""Several processes of one launch: the first decides, all run what is distributed, an error in one ends all."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import stages
from pipeline.__main__ import main
from pipeline.cli import stages as cli_stages
from pipeline.recipe.schema import load_recipe
from pipeline.runner.stage import Pipeline
from tests.helpers import launches


@pytest.mark.slow
def test_an_error_in_one_ends_all_and_the_same_launch_goes_on(tmp_path: Path) -> None:
    code, ran, told = launches.torchrun(tmp_path, "together 1")
    assert code != 0
    assert "StageError: stage together: together: expected no fault, got one; take it away" in told
    assert ran == ["first 0", "together 0", "together 1"]
    code, ran, told = launches.torchrun(tmp_path)
    assert code == 0, told
    assert ran == ["last 0", "together 0", "together 1"]


def test_all_run_what_is_distributed_and_the_first_the_rest_once(tmp_path: Path) -> None:
    codes, ran, told = launches.bare(tmp_path)
    assert codes == [0, 0], told
    assert ran == ["first 0", "last 0", "together 0", "together 1"]
    assert (tmp_path / "runs/last/copy").read_text() == "3"  # each process has added its part
    assert (tmp_path / "runs/together/slow").is_file()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [".lock", "first", "last", "together"]
    for stage in ("together", "last"):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "runs" / stage).rename(tmp_path / "other" / stage)
    assert launches.bare(tmp_path) == ([0, 0], [], ["", ""]), "the first process reuses results, the other one waits"
    assert (tmp_path / "runs/last/copy").read_text() == "3"


@pytest.mark.parametrize(
    ("fault", "by", "cause"),
    [
        ("together 0", 0, "stage together: together: expected no fault, got one; take it away"),
        ("together 1", 1, "stage together: together: expected no fault, got one; take it away"),
        ("first", 0, "stage first: first: expected no fault, got one; take it away"),
        ("elsewhere", 1, "/other disk/together.partial; all machines need the same disk at the same path"),
    ],
)
def test_no_process_hangs_when_another_has_a_fault(tmp_path: Path, fault: str, by: int, cause: str) -> None:
    codes, _, told = launches.bare(tmp_path, fault)
    assert codes == [2, 2]
    assert told[by].endswith(cause)
    assert not (tmp_path / "runs/together").exists()
    if fault == "first":
        assert told[1] == "expected 2 running processes, got one that ended; see its own error message"


ALONE = """
import sys
from pipeline.runner import ranks
assert (ranks.count(), ranks.is_first(), ranks.place()) == (1, True, "")
with ranks.joined() as group:
    group.send("nothing")
    group.wait()
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "4"}])
def test_alone_there_is_no_group_and_no_torch(environment: dict[str, str]) -> None:
    subprocess.run([sys.executable, "-c", ALONE], cwd=launches.REPOSITORY, env=environment, check=True)


def test_only_what_trains_runs_in_several_processes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    assert main(["clean"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error in clean, recipe scenes, process 2 of 3:")
    assert "clean: expected one process, got 3; run it without the launcher" in told


def test_what_learns_is_distributed(tmp_path: Path) -> None:
    line = stages.pipeline(load_recipe("scenes"), tmp_path)
    distributed = [stage.name for stage in line.stages if stage.distributed]
    assert distributed == ["teacher", "student", "baseline"]


def test_only_the_first_shows_and_publishes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Pipeline, "run", lambda line, *_: ran.append("line"))
    monkeypatch.setattr(cli_stages, "publish", lambda *_: ran.append("publish"))
    for rank, expected in (("0", ["line", "publish"]), ("1", ["line"])):
        ran.clear()
        monkeypatch.setenv("RANK", rank)
        assert main(["export"]) == 0
        assert ran == expected
    assert capsys.readouterr() == ("", "")
