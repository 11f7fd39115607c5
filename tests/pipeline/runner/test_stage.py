import json
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from export.backends.host import cpu_model
from export.backends.stamp import instruction_set
from mlkd.core.progress import silent
from pipeline.runner import result
from pipeline.runner.speed import FILE, Expected, Work, read_speeds
from pipeline.runner.stage import Context, Pipeline, Stage
from tests.helpers.recorder import Recorder


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
    why = "first runs first; skipped if that leaves what it reads unchanged"
    assert (second.runs, second.why) == (True, why)
    assert recorder.ran == ["first", "second"]  # planning ran nothing
    assert recorder.run(**changes) == ["first"]


def test_plan_of_nothing_all_and_a_changed_input(recorder: Recorder) -> None:
    first, second = recorder.line(work=Work(units=6, unit_s=2.0, bytes=34, work_bytes=7)).plan()
    assert (first.why, first.seconds, first.bytes) == ("no result yet", 12.0, 34 + 7)
    assert second.why == "first runs first"
    recorder.run()
    decisions = recorder.line().plan()
    assert [decision.runs for decision in decisions] == [False, False]
    assert decisions[0].bytes == result.read(recorder.folder / "first").bytes > 0
    recorder.line("b").until("first").run()
    assert recorder.line("b").plan()[1].why == "its input first has changed"


def test_estimates_come_from_the_speed_of_the_last_run_of_equal_work(recorder: Recorder) -> None:
    work = Work(units=4, kind="net", unit_s=100.0)
    recorder.run(work=work)
    took = result.read(recorder.folder / "first").seconds
    assert read_speeds(recorder.folder.parent)["first net"] == pytest.approx(took / 4, abs=0.02)
    (recorder.folder.parent / FILE).write_text('{"first net": 3.0}')
    first, _ = recorder.line("b", work=replace(work, units=10)).plan()
    assert first.seconds == 30.0
    other, _ = recorder.line("b", work=replace(work, kind="another net")).plan()
    assert other.seconds == 400.0
    (recorder.folder.parent / FILE).write_text("damaged")
    assert recorder.line("b", work=work).plan()[0].seconds == 400.0


def test_the_progress_of_a_stage_knows_what_runs_after_it(recorder: Recorder) -> None:
    expected: list[Expected] = []
    line = recorder.line(work=Work(unit_s=2.0))
    second = replace(line.stages[1], work=Work(units=3, unit_s=5.0))
    replace(line, stages=(line.stages[0], second)).run(lambda one: expected.append(one) or silent)
    assert expected == [Expected("first", 2.0, 15.0), Expected("second", 15.0, 0.0)]


def test_force_and_its_typo(recorder: Recorder) -> None:
    recorder.run()
    kept = recorder.folder / "first.work/kept"
    kept.parent.mkdir()
    kept.touch()
    assert recorder.run(force="second") == ["second"]
    assert kept.exists()
    assert recorder.run(force="first") == ["first"]
    assert not kept.exists()
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


@pytest.mark.parametrize("content", [b"B", b"\xc1"])
def test_a_file_of_equal_size_that_was_altered_is_made_again_before_it_is_read(
    recorder: Recorder, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recorder.run()
    (recorder.folder / "first/text.txt").write_bytes(content)
    assert recorder.run() == [], "nothing reads it"
    assert recorder.run(force="second") == ["first", "second"]
    assert "first: its file text.txt has changed since it was written: SHA-256 " in caplog.text
    assert (recorder.folder / "second/copy.txt").read_text() == "A"


def test_an_input_of_a_stage_that_is_made_again_is_compared_too(tmp_path: Path) -> None:
    """Of three stages in a row, the results of the first two are altered."""
    ran: list[str] = []

    def stage(name: str, *reads: str) -> Stage:
        def write(context: Context) -> None:
            ran.append(name)
            for before in reads:
                assert (context.inputs[before] / "text.txt").read_text() == before
            (context.out / "text.txt").write_text(name)

        return Stage(name=name, run=write, reads=reads)

    stages = (stage("a"), stage("b", "a"), stage("c", "b"))
    Pipeline(stages, tmp_path / "runs").run()
    for name in "ab":
        (tmp_path / "runs" / name / "text.txt").write_text("x")
    ran.clear()
    Pipeline(stages, tmp_path / "runs", frozenset({"c"})).run()
    assert ran == ["a", "b", "c"]


def test_files_that_no_running_stage_depends_on_are_not_compared(tmp_path: Path) -> None:
    def two_files(context: Context) -> None:
        for name in ("read.txt", "unread.txt"):
            (context.out / name).write_text(name)

    first = Stage(name="first", run=two_files)
    second = Stage(name="second", run=lambda _: None, reads=("first",), unread=("unread.*",))
    for force in (frozenset[str](), frozenset({"second"})):
        Pipeline((first, second), tmp_path / "runs", force).run()
        (tmp_path / "runs/first/unread.txt").write_text("UNREAD.txt")
    assert (tmp_path / "runs/first/unread.txt").read_text() == "UNREAD.txt"


def test_until_keeps_only_what_is_needed(recorder: Recorder) -> None:
    recorder.line().until("first").run()
    assert recorder.ran == ["first"]
    assert [stage.name for stage in recorder.line().until("second").stages] == ["first", "second"]


def test_what_is_recorded_can_be_checked_by_hand(recorder: Recorder) -> None:
    recorder.run()
    facts = json.loads((recorder.folder / "first/stage.json").read_text())
    assert facts["identity"]["config"] == {"text": "a", "factor": 1.0}
    assert facts["files"]["text.txt"]["bytes"] == 1
    listed = subprocess.run(
        ["sha256sum", recorder.folder / "first/text.txt"], capture_output=True, text=True
    ).stdout.split()[0]
    assert facts["files"]["text.txt"]["sha256"] == listed


def test_what_the_last_bits_depend_on_is_recorded_and_runs_nothing_again(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.run()
    made = json.loads((recorder.folder / "first/stage.json").read_text())["made_with"]
    assert made == {"cpu": cpu_model(), "instruction_set": instruction_set(), "threads": torch.get_num_threads()}
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert recorder.run() == []
    assert recorder.run(force="second") == ["second"]
    results = [result.read(recorder.folder / name) for name in ("first", "second")]
    assert [one and one.made_with["threads"] for one in results] == [made["threads"], 99]


def test_a_stage_does_not_run_again_for_files_that_it_does_not_depend_on(tmp_path: Path) -> None:
    """Other sizes of the images train no teacher again; nor in another recipe, whose sizes are others."""
    ran: list[str] = []

    def line(folder: str, texts: dict[str, str]) -> Pipeline:
        def write(context: Context) -> None:
            for name, text in texts.items():
                (context.out / name).write_text(text)

        def learn(context: Context) -> None:
            ran.append(folder)
            (context.out / "net").write_text((context.inputs["data"] / "train.96.npy").read_text())

        unread = tuple(name for name in texts if name not in ("train.96.npy", "labels"))
        return Pipeline(
            (
                Stage(name="data", run=write, config=texts),
                Stage(name="teacher", run=learn, reads=("data",), unread=unread),
            ),
            tmp_path / folder,
        )

    base = {"labels": "a", "train.96.npy": "96"}
    line("one", base).run()
    line("one", base | {"train.64.npy": "64"}).run()
    line("one", base | {"train.64.npy": "32"}).run()
    line("two", base | {"train.80.npy": "80"}).run()
    assert ran == ["one"]
    changed = line("two", base | {"labels": "b", "train.80.npy": "80"})
    assert [decision.runs for decision in changed.plan()] == [True, True]
    changed.run()
    line("one", base | {"train.96.npy": "other"}).run()
    assert ran == ["one", "two", "one"]


def test_a_result_of_which_a_stage_depends_on_no_file_does_not_count(tmp_path: Path) -> None:
    ran = []

    def write(name: str, context: Context) -> None:
        (context.out / name).write_text(name)

    def line(*reads: str, unread: tuple[str, ...] = ()) -> Pipeline:
        sources = (Stage(name=name, run=partial(write, name)) for name in ("image", "note"))
        reader = Stage(name="reader", run=lambda _: ran.append(reads), reads=reads, unread=unread)
        return Pipeline((*sources, reader), tmp_path)

    line("image").run()
    line("image", "note", unread=("note",)).run()
    line("image").run()
    assert ran == [("image",)]
    line("image", "note").run()
    assert ran == [("image",), ("image", "note")]
