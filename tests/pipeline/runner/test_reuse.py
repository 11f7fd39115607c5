"""A stage whose result another recipe has is not run again; the two results do not depend on each other."""

import errno
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.runner import result, reuse
from pipeline.runner.stage import Context, Pipeline, Stage
from tests.helpers.recorder import Recorder, assert_whole


def test_a_result_of_another_recipe_is_linked_instead_of_made(one: Recorder, two: Recorder) -> None:
    assert two.run() == []
    assert_whole(two)
    for stage in ("first", "second"):
        assert result.read(two.folder / stage) == result.read(one.folder / stage)
    assert (two.folder / "first/text.txt").samefile(one.folder / "first/text.txt")
    assert (two.folder / "first/times.log").read_text() == (one.folder / "first/times.log").read_text()
    assert [decision.why for decision in two.line().plan()] == ["unchanged, skipped"] * 2


def test_plan_names_the_other_recipe_also_behind_a_stage_that_is_not_here_yet(one: Recorder, two: Recorder) -> None:
    decisions = two.line().plan()
    assert [(d.runs, d.why, d.seconds, d.bytes, d.reused) for d in decisions] == [
        (False, "no result yet", 0.0, 0, one.folder)
    ] * 2
    assert not two.folder.exists()
    line = two.line()
    changed = replace(line, stages=(line.stages[0], replace(line.stages[1], version=2)))
    assert [(d.runs, d.reused) for d in changed.plan()] == [(False, one.folder), (True, None)]
    changed.run()
    assert two.ran == ["second"]


def test_the_log_says_where_a_result_comes_from(one: Recorder, two: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        two.run()
    assert caplog.messages == [f"{stage}: no result yet; reused from {one.folder}" for stage in ("first", "second")]


@pytest.mark.parametrize("changes", [{"text": "b"}, {"version": 2}, {"outside": lambda: {"cpu": "other"}}])
def test_a_result_of_another_identity_is_not_reused(one: Recorder, two: Recorder, changes: dict[str, Any]) -> None:
    assert [decision.reused for decision in two.line(**changes).plan()] == [None, None]
    assert two.run(**changes)[0] == "first"
    assert_whole(one)


def lose(folder: Path) -> None:
    (folder / "text.txt").unlink()


def lengthen(folder: Path) -> None:
    (folder / "text.txt").write_text("longer")


def cut_record(folder: Path) -> None:
    record = folder / "stage.json"
    record.write_text(record.read_text()[:-9])


@pytest.mark.parametrize("damage", [lose, lengthen, cut_record])
def test_a_damaged_result_is_not_reused(one: Recorder, two: Recorder, damage: Callable[[Path], None]) -> None:
    damage(one.folder / "first")
    assert [decision.reused for decision in two.line().plan()] == [None, None]
    assert two.run() == ["first"]  # its content is the same, so that the second can be reused
    assert_whole(two)


def test_a_result_with_a_file_of_equal_size_that_was_altered_is_not_reused(
    one: Recorder, two: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    (one.folder / "first/text.txt").write_text("x")
    assert two.run() == ["first"]
    assert "is not reused: expected an unchanged result, but its file text.txt has changed since" in caplog.text
    assert_whole(two)


def test_a_damaged_result_is_replaced_by_that_of_another_recipe(one: Recorder, two: Recorder) -> None:
    two.run("b")
    two.run("a")
    (two.folder / "first/text.txt").unlink()
    first, _ = two.line().plan()
    assert (first.why, first.reused) == ("its file text.txt is gone", one.folder)
    assert two.run() == []
    assert_whole(two)


@pytest.mark.usefixtures("one")
def test_a_forced_stage_runs(two: Recorder) -> None:
    assert two.line(force="first").plan()[0].reused is None
    assert two.run(force="first") == ["first"]
    assert two.run(force="second") == ["second"]


@pytest.mark.usefixtures("one")
def test_user_files_are_looked_at_only_if_all_else_is_equal(two: Recorder) -> None:
    def fail() -> Mapping[str, Any]:
        raise ValueError("root: expected images, got none")

    assert [decision.why for decision in two.line("b", outside=fail).plan()] == ["no result yet", "first runs first"]
    with pytest.raises(ValueError, match="expected images"):
        two.line("a", outside=fail).plan()


@pytest.mark.usefixtures("one")
def test_a_whole_result_is_preferred_to_resuming(two: Recorder) -> None:
    def stop(context: Context) -> None:
        (context.out / "text.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        two.run(force="first", run=stop)
    assert (two.folder / "first.partial").is_dir()
    assert two.run() == []
    assert_whole(two)


def test_the_identity_counts_that_a_stage_has_after_it_fetched_its_files(tmp_path: Path) -> None:
    fetched: list[str] = []

    def line(name: str) -> Pipeline:
        stage = Stage(
            name="data",
            run=lambda context: (context.out / name).touch(),
            prepare=lambda _: fetched.append("images"),
            outside=lambda: {"images": list(fetched)},
        )
        return Pipeline((stage,), tmp_path / name)

    line("one").run()
    fetched.clear()
    assert line("two").plan()[0].runs
    line("two").run()
    assert (tmp_path / "two/data/one").exists()


def test_results_in_subfolders_or_without_files_are_reused(tmp_path: Path) -> None:
    ran: list[str] = []

    def line(name: str) -> Pipeline:
        stages = [Stage(name=stage, run=lambda _: ran.append(name)) for stage in ("compare/grid/kd-x0.5", "empty")]
        return Pipeline(tuple(stages), tmp_path / name)

    line("one").run()
    line("two").run()
    assert ran == ["one", "one"]
    assert result.read(tmp_path / "two/compare/grid/kd-x0.5") == result.read(tmp_path / "one/compare/grid/kd-x0.5")


def rerun(recorder: Recorder) -> None:
    recorder.run("b")


def clean(recorder: Recorder) -> None:
    shutil.rmtree(recorder.folder)


@pytest.mark.parametrize("change", [rerun, clean])
@pytest.mark.parametrize("taken", [True, False])
def test_neither_result_changes_with_the_other(
    one: Recorder, two: Recorder, change: Callable[[Recorder], None], taken: bool
) -> None:
    two.run()
    change(two if taken else one)
    kept = one if taken else two
    assert_whole(kept)
    assert kept.run() == []


def test_files_are_copied_where_the_disk_has_no_links(
    one: Recorder, two: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert two.run() == []
    assert_whole(two)
    assert not (two.folder / "first/text.txt").samefile(one.folder / "first/text.txt")


@pytest.mark.parametrize("change", [rerun, clean])
def test_a_result_that_changes_while_it_is_linked_is_not_reused(
    one: Recorder,
    two: Recorder,
    change: Callable[[Recorder], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other recipe may run at the same time."""
    link, changed = reuse._link, list[Path]()

    def late(source: Path, target: Path) -> None:
        if not changed:
            changed.append(source)
            change(one)
        link(source, target)

    monkeypatch.setattr(reuse, "_link", late)
    assert two.run() == ["first", "second"]
    assert_whole(two)
    assert "expected an unchanged result" in caplog.text or "No such file" in caplog.text
