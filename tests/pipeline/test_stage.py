from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline import result
from pipeline import stage as stages
from pipeline.stage import Context, Line, Stage, StageError

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    text: str
    factor: float = 1.0


class Recorder:
    """Two stages: `first` writes its text and a log, `second` copies what it reads; `ran` says what was run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ran = folder, []

    def line(self, text: str = "a", *, force: str = "", factor: float = 1.0, **changes: Any) -> Line:
        def first(context: Context) -> None:
            self.ran.append("first")
            (context.out / "text.txt").write_text(text.upper())
            (context.out / "times.log").write_text(str(time.time_ns()))

        def second(context: Context) -> None:
            self.ran.append("second")
            shutil.copy(context.inputs["first"] / "text.txt", context.out / "copy.txt")

        one = {"name": "first", "run": first, "config": Settings(text, factor), "volatile": ("*.log",)}
        return Line(
            (Stage(**{**one, **changes}), Stage(name="second", run=second, reads=("first",))),
            self.folder,
            frozenset({force} - {""}),
        )

    def run(self, *arguments: Any, **changes: Any) -> list[str]:
        self.ran.clear()
        self.line(*arguments, **changes).run()
        return list(self.ran)


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "runs" / "one")


def test_a_finished_stage_is_skipped(recorder: Recorder) -> None:
    assert recorder.run() == ["first", "second"]
    assert recorder.run() == []
    assert (recorder.folder / "second/copy.txt").read_text() == "A"
    assert not list(recorder.folder.glob("*.partial"))


def test_changed_config_runs_the_stage_and_its_readers(recorder: Recorder) -> None:
    recorder.run("a")
    assert recorder.run("b") == ["first", "second"]
    assert (recorder.folder / "second/copy.txt").read_text() == "B"


def test_equal_outputs_do_not_run_the_readers_again(recorder: Recorder) -> None:
    recorder.run("a")
    assert recorder.run("a", factor=2.0) == ["first"]  # its log differs, but is volatile
    assert recorder.run("A", factor=2.0) == ["first"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "the stage's own version: 1 → 2"),
        ({"packages": ("pydantic", "no-such-package")}, "package no-such-package: nothing → not installed"),
        ({"outside": lambda: {"cpu": "other"}}, "cpu: nothing → other"),
        ({"factor": 3.5}, "factor: 1.0 → 3.5"),
    ],
)
def test_plan_says_why(recorder: Recorder, changes: dict[str, Any], why: str) -> None:
    recorder.run()
    first, second = recorder.line(**changes).plan()
    assert first.runs
    assert why in first.why
    assert (second.runs, second.why) == (True, "first comes first")
    assert recorder.ran == ["first", "second"]  # planning ran nothing
    assert recorder.run(**changes) == ["first"]


def test_plan_of_nothing_all_and_a_changed_input(recorder: Recorder) -> None:
    first, _ = recorder.line(seconds=12.0, bytes=34).plan()
    assert (first.why, first.seconds, first.bytes) == ("not there yet", 12.0, 34)
    recorder.run()
    decisions = recorder.line().plan()
    assert [decision.runs for decision in decisions] == [False, False]
    assert decisions[0].bytes == result.read(recorder.folder / "first").bytes > 0
    recorder.line("b").until("first").run()
    assert recorder.line("b").plan()[1].why == "its input first has changed"


def test_force_and_its_typo(recorder: Recorder) -> None:
    recorder.run()
    assert recorder.run(force="first") == ["first"]
    with pytest.raises(ValueError, match="--force: expected one of first, second, got 'frist'"):
        recorder.line(force="frist")


def test_a_file_that_is_gone_or_cut_runs_the_stage_again(recorder: Recorder) -> None:
    recorder.run()
    (recorder.folder / "first/text.txt").unlink()
    assert recorder.line().plan()[0].why == "its file text.txt is gone"
    assert recorder.run() == ["first"]
    (recorder.folder / "second/copy.txt").write_text("longer")
    assert "has 6 bytes instead of 1" in recorder.line().plan()[1].why
    assert recorder.run() == ["second"]


def test_until_keeps_only_what_is_needed(recorder: Recorder) -> None:
    recorder.line().until("first").run()
    assert recorder.ran == ["first"]
    assert [stage.name for stage in recorder.line().until("second").stages] == ["first", "second"]


def failing(steps: list[str], fail: Callable[[], None]) -> Callable[[Context], None]:
    def run(context: Context) -> None:
        steps.append("resumed" if (context.out / "half").exists() else "fresh")
        (context.out / "half").write_text("x")
        fail()

    return run


def stop() -> None:
    raise KeyboardInterrupt


def test_interrupted_work_is_resumed_only_for_an_equal_identity(tmp_path: Path) -> None:
    steps: list[str] = []
    for config, fail in ((1, stop), (1, stop), (2, stop), (2, lambda: None)):
        line = Line((Stage(name="long", run=failing(steps, fail), config={"n": config}),), tmp_path)
        try:
            line.run()
        except KeyboardInterrupt:
            assert not (tmp_path / "long").exists()
    assert steps == ["fresh", "resumed", "fresh", "resumed"]
    assert result.read(tmp_path / "long").identity["config"] == {"n": 2}


def test_an_older_result_survives_a_failing_newer_one(recorder: Recorder) -> None:
    recorder.run()

    def broken(context: Context) -> None:
        raise ValueError("text: expected letters, got digits; write letters")

    with pytest.raises(StageError, match="stage first: text: expected letters, got digits; write letters"):
        recorder.run("b", run=broken)
    assert (recorder.folder / "first/text.txt").read_text() == "A"
    assert recorder.run("a") == []


@pytest.mark.parametrize("kill_at", range(12))
def test_a_kill_at_any_step_of_the_swap_is_mended(
    recorder: Recorder, kill_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power goes at the n-th change of a name on the disk; then the same command again."""
    recorder.run("a")
    count = 0
    real = {name: getattr(Path, name) for name in ("rename", "unlink", "replace")}

    def guarded(name: str) -> Callable[..., Any]:
        def change(path: Path, *arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == kill_at + 1:
                raise KeyboardInterrupt
            return real[name](path, *arguments, **options)

        return change

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(Path, name, guarded(name))
        with pytest.raises(KeyboardInterrupt):
            recorder.run("b")
    assert (recorder.folder / "first").exists() or list(recorder.folder.glob("first.*"))
    recorder.run("b")
    assert (recorder.folder / "first/text.txt").read_text() == "B"
    assert (recorder.folder / "second/copy.txt").read_text() == "B"
    assert sorted(path.name for path in recorder.folder.iterdir()) == [".lock", "first", "second"]
    assert recorder.run("b") == []


def test_a_finished_partial_is_not_made_again(recorder: Recorder) -> None:
    recorder.run("a")
    (recorder.folder / "first").rename(recorder.folder / "first.partial")  # killed just before the rename
    assert recorder.run("a") == []


FILLER = """
import resource, signal, sys
from pathlib import Path
from pipeline.stage import Line, Stage

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def fill(context):
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    (context.out / "big.bin").write_bytes(bytes(100_000))
small = Stage(name="small", run=lambda context: (context.out / "a").write_text("a") and None)
Line((small, Stage(name="big", run=fill, reads=("small",))), Path(sys.argv[1])).run()
"""


def test_a_full_disk_says_what_and_where_and_loses_nothing(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FILLER, str(tmp_path / "runs")], cwd=REPOSITORY, capture_output=True, text=True
    )
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("pipeline.stage.StageError: stage big: ")
    for part in (
        "runs/big.partial: ",
        "expected room to write, got file too large",
        "free on that disk",
        "run the same command",
    ):
        assert part in last
    assert result.read(tmp_path / "runs/small") is not None
    assert not (tmp_path / "runs/big").exists()


def test_no_room_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(stages.shutil, "disk_usage", lambda _: usage._replace(free=300_000_000))
    line = Line((Stage(name="big", run=lambda _: pytest.fail("ran"), bytes=2_000_000_000),), tmp_path)
    with pytest.raises(StageError, match=r"stage big: expected 2.2 GB free on the disk of .*, got 300.0 MB"):
        line.run()
    Line((Stage(name="small", run=lambda _: None, bytes=1000),), tmp_path).run()


HOLDER = """
import sys, time
from pathlib import Path
from pipeline.stage import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_at_once_are_refused(recorder: Recorder) -> None:
    command = [sys.executable, "-c", HOLDER, str(recorder.folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="expected to be the only run of this recipe"):
            recorder.run()
        holder.kill()
    assert recorder.run() == ["first", "second"]  # a killed run leaves no lock behind


def test_what_is_recorded_can_be_checked_by_hand(recorder: Recorder) -> None:
    recorder.run()
    facts = json.loads((recorder.folder / "first/stage.json").read_text())
    assert facts["identity"]["config"] == {"text": "a", "factor": 1.0}
    assert facts["files"]["text.txt"]["bytes"] == 1
    listed = subprocess.run(
        ["sha256sum", recorder.folder / "first/text.txt"], capture_output=True, text=True
    ).stdout.split()[0]
    assert facts["files"]["text.txt"]["sha256"] == listed
