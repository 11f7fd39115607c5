"""What the user sees of a run."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from export.errors import BundleError
from pipeline import stages
from pipeline.__main__ import main
from pipeline.cli.stages import publish
from pipeline.recipe.schema import load_recipe
from pipeline.runner import result
from pipeline.runner.session import locked
from tests.helpers import commands, drawings


def test_plan_tells_what_the_nets_cost(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--recipe", "tiny.yaml"]) == 0
    told = capsys.readouterr().out.splitlines()
    nets = [line.split(": ", 1) for line in told if line.startswith(("teacher ", "student "))]
    assert [name for name, _ in nets] == [
        "teacher  test_resnet @48 + label_decoder 16",
        "student  test_resnet @32 + label_decoder 8",
    ]
    for _, facts in nets:
        assert re.fullmatch(
            r"0\.\d+ M parameters, [\d.]+ M multiply-adds \(head \d+ %\), per 80 labels "
            r"\(assumed: the images are not read yet\)",
            facts,
        )
    assert re.fullmatch(r"about .*, [\d.]+ MB", told[-1]), "no stage without an estimate"


def test_plan_counts_with_the_labels_that_were_read(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = stages.pipeline(load_recipe("tiny.yaml"), Path("runs/tiny")).until("data")
    line.run()
    capsys.readouterr()
    assert main(["plan", "--recipe", "tiny.yaml"]) == 0
    told = capsys.readouterr().out
    assert "assumed" not in told
    net = load_recipe("tiny.yaml").student.model.build(len(drawings.COLOURS))
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert f"student  test_resnet @32 + label_decoder 8: {millions:.2g} M parameters, " in told


def test_debug_shows_the_traceback(recipe: Path) -> None:
    with pytest.raises(ValueError, match="did you mean scenes"):
        main(["distill", "--recipe", "scene", "--debug"])


@pytest.mark.slow
def test_a_full_disk_keeps_what_is_finished(recipe: Path, tmp_path: Path) -> None:
    code, log = commands.run(tmp_path, "distill", "--recipe", "tiny.yaml", file_bytes=1_000_000)
    assert code == 2, log
    assert "Traceback" not in log
    assert "stage teacher: " in log
    assert "expected room to write, got file too large (" in log
    assert "rerun the command; finished stages are kept" in log
    assert result.read(tmp_path / "runs/tiny/data") is not None
    started = commands.start(tmp_path, "distill", "--recipe", "tiny.yaml")
    while started.running() and "teacher: done" not in started.log.read_text():
        time.sleep(0.05)
    started.kill()
    log = started.log.read_text()
    assert "data: unchanged, skipped" in log
    assert "teacher: no result yet; resuming" in log
    assert "teacher: done" in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_that_it_goes_on(number: int, recipe: Path, tmp_path: Path) -> None:
    started = commands.start(tmp_path, "distill", "--recipe", "tiny.yaml")
    at_work = [tmp_path / "runs/tiny" / place for place in ("data.partial/images", "data", "teacher.partial")]
    while started.running() and not any(place.exists() for place in at_work):
        time.sleep(0.01)
    started.interrupt(number)
    code, log = started.wait()
    assert code == 128 + number
    assert log.splitlines()[-1] == "interrupted: finished stages and epochs are kept; rerun the same command to resume"
    assert "Traceback" not in log


def test_publishing_over_what_is_not_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/tiny/bundle").mkdir(parents=True)
    (tmp_path / "dist/tiny").mkdir(parents=True)
    (tmp_path / "dist/tiny/thesis.txt").write_text("mine")
    facts = '{"identity": {}, "content": "", "seconds": 1, "files": {}}'
    (tmp_path / "runs/tiny/bundle/stage.json").write_text(facts)
    from tests.helpers import bundles

    bundles.write_colours(tmp_path / "runs/tiny/bundle/bundle", tmp_path / "work")
    with pytest.raises(BundleError, match="dist/tiny: expected a bundle"):
        publish(tmp_path / "runs/tiny", Path("dist/tiny"))
    assert (tmp_path / "dist/tiny/thesis.txt").read_text() == "mine"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")}
    assert listed >= {"distill", "export", "bench", "report", "compare", "plan", "init", "fetch", "clean"}


@pytest.mark.parametrize(("by_user", "expected"), [(None, "10000"), ("OMP_WAIT_POLICY", None), ("GOMP_SPINCOUNT", "7")])
def test_threads_that_wait_leave_their_core_soon_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, by_user: str | None, expected: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "7")  # so that it is restored
        if name != by_user:
            monkeypatch.delenv(name)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_a_reader_that_has_seen_enough_is_no_error(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs/tiny").mkdir(parents=True)
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as closed, monkeypatch.context() as context:  # noqa: PTH123  (a descriptor)
        context.setattr("sys.stdout", closed)
        assert main(["clean", "--recipe", "tiny.yaml"]) == 141
        print("more, as at exit", flush=True)
    assert capsys.readouterr().err == ""


def test_another_closed_pipe_is_an_error(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of a process which has died."""

    def fail(_: object) -> None:
        raise BrokenPipeError("the loader has died")

    monkeypatch.setattr("pipeline.cli.clean.run", fail)
    assert main(["clean", "--recipe", "tiny.yaml"]) == 2
    assert "the loader has died" in capsys.readouterr().err


def test_clean_removes_one_recipe(recipe: Path, tmp_path: Path) -> None:
    for name in ("tiny", "tiny.search", "tiny.fastest", "tiny.v2", "other"):
        (tmp_path / "runs" / name / "data").mkdir(parents=True)
    (tmp_path / "runs/tiny.search/race.work/training").mkdir(parents=True)
    assert main(["clean", "--recipe", "tiny.yaml"]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["other", "tiny.v2"]


def test_clean_of_everything_waits_for_no_run_and_removes_nothing_of_it(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    for name in ("other", "tiny"):
        with locked(runs / name):
            pass
        (runs / name / "data").mkdir()
    (runs / "speed.json").write_text("{}")
    with locked(runs / "tiny"):
        assert main(["clean", "--all"]) == 2
        assert (
            f"runs/tiny: expected no other run of this recipe, got process {os.getpid()} on " in capsys.readouterr().err
        )
        assert (runs / "other/data").is_dir()
    assert main(["clean", "--all"]) == 0
    assert not runs.exists()
    assert main(["clean", "--all"]) == 0, "nothing is there"


def test_what_was_forced_is_resumed_without_force(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cli.stages.run", interrupt)
    assert main(["distill", "--recipe", "tiny.yaml", "--force", "teacher"]) == 130
    assert "epochs are kept; rerun without --force to resume" in capsys.readouterr().err
