"""A search from its command to its table, with a candidate that is really built, timed and trained."""

import shutil
from pathlib import Path

import pytest

from export.bundle.bundle import read_bundle
from mlkd.models import checkpoint
from pipeline.__main__ import main
from pipeline.runner import result
from pipeline.search import race_stages, stages
from pipeline.search.race_rows import CANDIDATES, RACE
from pipeline.search.rows import BUNDLE, read_screen
from tests.pipeline.search.conftest import with_search

NAME = "test_resnet-40px-pooled"


@pytest.mark.usefixtures("load_in_process")
def test_a_whole_search(drawn: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two candidates one cannot be built; the other is trained."""
    students = "backbone: [test_resnet, no_such_model], image_px: 40, head: {kind: pooled}"
    (place / "tiny.yaml").write_text(with_search(drawn, f"max_p90_ms: 1000, max_mb: 0.5, students: {{{students}}}"))
    assert main(["search", "--recipe", "tiny.yaml"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"1 of 2 candidates keep the budget; fastest is {NAME} candidate p90 ms epochs" in printed
    assert f"finalist: {NAME} (best, fastest)" in printed
    is_screened(place)
    race = place / "runs/tiny.search" / race_stages.RESULT
    assert checkpoint.read_facts(race / CANDIDATES / NAME / checkpoint.LAST)["step"] == 4, "one epoch"
    assert main(["search", "--recipe", "tiny.yaml", "--plan"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    joins_only_a_running_race(race, capsys)


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
    result.write_json(running / "identity.json", identity | {"config": {}})
    assert main(words) == 2
    assert "got another" in capsys.readouterr().err
