"""A search from its command to its table, with a candidate that is really built, timed and trained."""

import shutil
from pathlib import Path

import pytest

from benchmarks.schema import read_report
from export.bundle.bundle import read_bundle
from pipeline.__main__ import main
from pipeline.recipe.schema import load_recipe
from pipeline.runner import result
from pipeline.runner.speed import read_speeds
from pipeline.search import race_stages, stages
from pipeline.search.race_rows import RACE, read_race
from pipeline.search.rows import BUNDLE, read_screen
from tests.helpers.drawings import with_search

NAME = "test_resnet-40px-pooled"


@pytest.mark.slow
@pytest.mark.usefixtures("load_in_process")
def test_a_screen_and_a_race(drawn: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two candidates one cannot be built; the other is trained."""
    students = "backbone: [test_resnet, no_such_model], image_px: 40, head: {kind: pooled}"
    recipe = place / "tiny.yaml"
    recipe.write_text(with_search(drawn, f"max_p90_ms: 1000, max_mb: 0.5, students: {{{students}}}"))
    searching = race_stages.pipeline(load_recipe(str(recipe)), place / "runs/tiny.search")
    searching.run()
    is_screened(place)
    folder = searching.folder
    joins_only_a_running_race(folder / race_stages.RESULT, capsys)
    (trained,) = (folder / race_stages.WORK).rglob("select.*.npz")
    assert trained.name == "select.1.npz"
    before = trained.stat().st_mtime_ns, read_race(folder / race_stages.RESULT)
    recipe.write_text(recipe.read_text().replace("max_p90_ms: 1000", "max_p90_ms: 900, minutes: 70"))
    assert main(["search", "--recipe", "tiny.yaml", "--plan"]) == 0
    assert "1 of 2 candidates were trained before" in capsys.readouterr().out
    race_stages.pipeline(load_recipe(str(recipe)), folder).run()
    assert (trained.stat().st_mtime_ns, read_race(folder / race_stages.RESULT)) == before
    assert {"race tiny", "race tiny repeated"} < read_speeds(place / "runs").keys(), (
        "a repeated race is no measure of a whole one"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("load_in_process")
def test_a_whole_search(
    drawn: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one command to a page with two students, and the other one by its name."""
    monkeypatch.setattr(race_stages, "thin", lambda *_: {})  # by the times of a busy machine
    students = "backbone: test_resnet, image_px: [32, 48], head: {kind: pooled}"
    (place / "tiny.yaml").write_text(with_search(drawn, f"max_p90_ms: 1000, students: {{{students}}}"))
    assert main(["search", "--recipe", "tiny.yaml"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 candidates keep the budget" in printed
    assert printed.count("finalist: test_resnet-") == 2
    report = read_report(result.read_json(place / "dist/tiny/report.json"))
    assert report.search is not None
    (chosen, other), role = report.search.students, report.search.students[1].roles[0]
    assert (chosen.model, other.model) == ("student", role)
    assert f"student: {chosen.candidate}, in the bundle" in printed
    assert {row.name for row in report.rows if row.kind == "engine"} == {"onnxruntime-int8", f"{role}-onnxruntime-int8"}
    assert all(row.status == "measured" for row in report.rows if row.kind == "engine")
    for student in (chosen, other):
        assert student.student_map is not None
        assert student.low is not None
    assert read_bundle(place / "dist/tiny").image_px == chosen.image_px
    assert {point.candidate for point in report.search.screen} == {"test_resnet-32px-pooled", "test_resnet-48px-pooled"}
    for command in (["search", "--plan"], ["plan"]):
        assert main([*command, "--recipe", "tiny.yaml"]) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert main(["export", "--recipe", "tiny.yaml", "--student", role]) == 0
    assert read_bundle(place / f"dist/tiny.{role}").image_px == other.image_px
    assert main(["export", "--recipe", "tiny.yaml", "--student", "largest"]) == 2
    assert "expected a finalist" in capsys.readouterr().err


def is_screened(place: Path) -> None:
    screen = read_screen(place / "runs/tiny.search" / stages.RESULT)
    kept, failed = screen.verdicts
    assert kept.kept
    assert failed.misses[0].startswith("this machine: model.backbone: expected a timm model, got 'no_such_model'")
    row, none = screen.rows
    assert (row.candidate, row.engine, row.device) == (NAME, "onnxruntime-int8", "this machine")
    assert (none.engine, none.parameters, none.end_to_end_ms) == (None, None, None)
    assert row.end_to_end_ms is not None
    assert row.engine_ms is not None
    assert 0 < row.engine_ms.p50 < row.end_to_end_ms.p50 <= row.end_to_end_ms.p90 <= row.end_to_end_ms.p90_bound
    manifest = read_bundle(place / "runs/tiny.search/build" / NAME / BUNDLE)
    assert manifest.image_px == 40, "a size that the data stage has not prepared"
    assert row.megabytes == sum(manifest.files[file].bytes for file in manifest.engines[0].files) / 1e6
    float_bytes = manifest.files["models/fp32.onnx"].bytes
    assert row.parameters == pytest.approx(float_bytes / 4, rel=0.05), "four bytes a parameter, and the graph"


def joins_only_a_running_race(race: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["search", "--recipe", "tiny.yaml", "--join"]
    assert main(words) == 2
    assert "expected a running race of this recipe in" in capsys.readouterr().err
    running = Path(shutil.copytree(race, race.with_name("race.partial")))
    (running / RACE).unlink()
    identity = result.read_json(running / "stage.json")["identity"]
    result.write_json(running / "identity.json", identity)
    assert main(words) == 0
    assert not (running / RACE).exists(), "the first worker writes the result"
    for part in ("config", "packages"):
        result.write_json(running / "identity.json", identity | {part: {}})
        assert main(words) == 2
        assert "got another" in capsys.readouterr().err
