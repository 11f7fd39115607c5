"""The short form of `make torture`: of each kind one attempt, on the finished tiny run; it loses nothing."""

import json
import random
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from scripts.torture import __main__ as torture
from scripts.torture import damage, disk, kills, long_runs, programs, together
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked


@pytest.fixture
def place(work: Path, tmp_path: Path) -> Path:
    """The folder of a subject, beside an undisturbed run."""
    shutil.copytree(work, tmp_path / "undisturbed")
    (tmp_path / "undisturbed" / kills.WHOLE).write_text("20")
    (tmp_path / "subject").mkdir()
    return tmp_path / "subject"


@pytest.mark.parametrize(
    ("subject", "what", "seed"),
    [
        (kills, kills.MAIN, 1),
        pytest.param(disk, disk.FULL, 0, marks=pytest.mark.slow),
        pytest.param(disk, disk.READ_ONLY, 0, marks=pytest.mark.slow),
        pytest.param(damage, f"{damage.FLIPPED}, {damage.FINISHED_STAGE}", 24, marks=pytest.mark.slow),
        (damage, f"{damage.CUT}, {damage.INTERRUPTED_STAGE}", 2),
        pytest.param(programs, programs.INSTALL, 0, marks=pytest.mark.slow),
        (programs, programs.XMP, 0),
        (programs, programs.WATCH, 0),
        (programs, programs.SERVE, 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_is_lost(subject: ModuleType, what: str, seed: int, place: Path) -> None:
    assert what in subject.WANTED
    tried = list(subject.attempts(place, what, 1, seed=seed))
    assert [attempt.what for attempt in tried] == [what]
    assert [attempt.faults for attempt in tried] == [[]], tried


def test_a_result_that_differs_and_what_is_left_are_found(place: Path) -> None:
    reference, folder = place.parent / "undisturbed", place / "disturbed"
    shutil.copytree(reference, folder)
    (folder / "tmp").mkdir()
    assert kills.differences(reference, folder) == []
    damage.flip(folder / "runs/tiny/student/best.safetensors", random.Random(0))
    (folder / "runs/tiny/onnx/fp32.onnx.partial").touch()
    (folder / "tmp/left").touch()
    (folder / "dist/half").mkdir()
    assert kills.differences(reference, folder) == [
        "student/best.safetensors of tiny differs",
        "runs/tiny/onnx/fp32.onnx.partial is left",
        "temporary left is left",
        "something else is in dist",
    ]


def test_orphans_are_found_and_ended(tmp_path: Path) -> None:
    running = Marked(tmp_path, ["sh", "-c", "sleep 100 & echo started"])
    assert running.wait(10) == 0
    assert running.orphans(0) == ["sleep 100 "]
    assert running.children() == []


@pytest.mark.parametrize(("growing", "faults"), [("x = b''", 0), ("x += b'1' * 1_000_000", 1)])
def test_a_program_that_grows_is_found(tmp_path: Path, growing: str, faults: int) -> None:
    code = f"import time\nx = b''\nfor _ in range(40):\n    {growing}\n    time.sleep(0.02)\n"
    attempt = long_runs.watch("grows", Marked(tmp_path, ["python3", "-c", code]), every_s=0.05)
    assert len(attempt.faults) == faults, attempt
    assert "memory" in attempt.measured


def test_the_table_says_what_was_lost_and_what_was_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried = [Attempt(together.RUN, "at: data"), Attempt(together.CLEAN, "at: data", ["results are gone"])]
    (tmp_path / "together.jsonl").write_text("".join(json.dumps(vars(one)) + "\n" for one in tried))
    assert torture.print_table(["together"], tmp_path) == 1
    table = capsys.readouterr().out
    assert f"| {together.RUN} | 1 | nothing |" in table
    assert f"| {together.CLEAN} | 1 | 1: results are gone |" in table
    assert f"| {together.SHARED} | 0 | not tried |" in table
