"""A recipe that extends another one with a student of its own trains that student, and nothing else."""

from pathlib import Path

import pytest

from mlkd.core.files import sha256_of
from pipeline.runner import result
from tests.helpers import commands

SHARED = ("data", "teacher", "teacher_outputs", "baseline")


@pytest.fixture
def second(copied: Path) -> Path:
    """The finished run of `tiny`, and a recipe beside it."""
    (copied / "second.yaml").write_text("extends: tiny.yaml\nstudent: {training: {epochs: 1}}\n")
    return copied


def test_only_the_other_student_is_trained(second: Path) -> None:
    before = written(second / "runs/tiny")
    code, log = commands.run(second, "plan", "--recipe", "second.yaml")
    assert code == 0, log
    plan = [line.split(maxsplit=2) for line in log.splitlines()]
    reused = "no result yet; from runs/tiny (about 0 s)"
    assert [words for words in plan if words[0] == "reuse"] == [["reuse", stage, reused] for stage in SHARED]
    assert next(words[1] for words in plan if words[0] == "run") == "student"
    code, log = commands.run(second, "distill", "--recipe", "second.yaml")
    assert code == 0, log
    assert [line.split()[1] for line in log.splitlines() if "reused from runs/tiny" in line] == [
        f"{stage}:" for stage in SHARED
    ]
    assert [line.split()[1] for line in log.splitlines() if "done in" in line] == ["student:"]
    assert written(second / "runs/tiny") == before
    assert_as_recorded(second / "runs/tiny")
    assert_as_recorded(second / "runs/second")


def written(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def assert_as_recorded(folder: Path) -> None:
    """Every file has the content that it had when its stage ended."""
    for record in folder.glob("*/stage.json"):
        finished = result.read(record.parent)
        assert finished is not None
        for path, entry in finished.files.items():
            assert sha256_of(record.parent / path) == entry["sha256"]
