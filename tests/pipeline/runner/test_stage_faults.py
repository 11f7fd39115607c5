"""What a stage that is stopped, killed or out of room leaves behind, and how the next run mends it."""

import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner import faults, result
from pipeline.runner.faults import StageError
from pipeline.runner.speed import Work
from pipeline.runner.stage import Context, Pipeline, Stage
from tests.helpers.recorder import Recorder

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path / "runs" / "one")


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
        line = Pipeline((Stage(name="long", run=failing(steps, fail), config={"n": config}),), tmp_path / "runs/one")
        try:
            line.run()
        except KeyboardInterrupt:
            assert not (tmp_path / "runs/one/long").exists()
    assert steps == ["fresh", "resumed", "fresh", "resumed"]
    assert result.read(tmp_path / "runs/one/long").identity["config"] == {"n": 2}


def test_an_older_result_survives_a_failing_newer_one(recorder: Recorder) -> None:
    recorder.run()

    def broken(context: Context) -> None:
        raise ValueError("text: expected letters, got digits; write letters")

    with pytest.raises(StageError, match="stage first: text: expected letters, got digits; write letters"):
        recorder.run("b", run=broken)
    assert (recorder.folder / "first/text.txt").read_text() == "A"
    assert recorder.run("a") == []


def test_seconds_are_those_of_all_sessions(tmp_path: Path) -> None:
    """But of those that a kill has ended, which leave no note."""
    folder = tmp_path / "runs/one"

    def run(context: Context) -> None:
        time.sleep(0.3)
        if len(list(context.out.glob("session*"))) < 2:
            (context.out / f"session{time.time_ns()}").touch()
            raise KeyboardInterrupt

    line = Pipeline((Stage(name="long", run=run),), folder)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            line.run()
    (folder / "long.partial/seconds.txt").read_text()
    line.run()
    done = result.read(folder / "long")
    assert 0.9 <= done.seconds < 1.5
    assert "seconds.txt" not in done.files
    assert not (folder / "long/seconds.txt").exists()


def test_half_a_note_of_the_seconds_counts_as_none(tmp_path: Path) -> None:
    folder = tmp_path / "runs/one"
    line = Pipeline((Stage(name="long", run=lambda _: stop()),), folder)
    with pytest.raises(KeyboardInterrupt):
        line.run()
    (folder / "long.partial/seconds.txt").write_text("")
    Pipeline((Stage(name="long", run=lambda _: None),), folder).run()
    assert result.read(folder / "long").seconds < 0.3


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
from pipeline.runner.stage import Pipeline, Stage

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def fill(context):
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
    FILL
small = Stage(name="small", run=lambda context: (context.out / "a").write_text("a") and None)
Pipeline((small, Stage(name="big", run=fill, reads=("small",))), Path(sys.argv[1])).run()
"""


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        ('(context.out / "big.bin").write_bytes(bytes(100_000))', "got file too large"),
        ('__import__("numpy").save(context.out / "big.npy", [0.0] * 20_000)', r"got \d+ requested and \d+ written"),
    ],
)
def test_a_full_disk_says_what_and_where_and_loses_nothing(write: str, cause: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILLER.replace("FILL", write), str(tmp_path / "runs")]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("pipeline.runner.faults.StageError: stage big: ")
    for part in (
        "runs/big.partial: ",
        "expected room to write, ",
        "free on that disk",
        "rerun the command",
    ):
        assert part in last
    assert re.search(cause, last)
    assert result.read(tmp_path / "runs/small") is not None
    assert not (tmp_path / "runs/big").exists()


def test_no_room_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(faults.shutil, "disk_usage", lambda _: usage._replace(free=300_000_000))
    line = Pipeline((Stage(name="big", run=lambda _: pytest.fail("ran"), work=Work(bytes=2_000_000_000)),), tmp_path)
    with pytest.raises(StageError, match=r"stage big: expected 2.2 GB free on the disk of .*, got 300.0 MB"):
        line.run()
    Pipeline((Stage(name="small", run=lambda _: None, work=Work(bytes=1000)),), tmp_path).run()


HOLDER = """
import sys, time
from pathlib import Path
from pipeline.runner.session import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_at_once_are_refused(recorder: Recorder) -> None:
    command = [sys.executable, "-c", HOLDER, str(recorder.folder)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        who = rf"process {holder.pid} on {re.escape(platform.node())} since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
        for _ in range(2):  # the one that is refused changes nothing
            with pytest.raises(ValueError, match=rf"expected no other run of this recipe, got {who}; wait until it"):
                recorder.run()
        holder.kill()
    assert recorder.run() == ["first", "second"]  # a killed run leaves no lock behind
