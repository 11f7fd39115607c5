"""A comparison of two methods on what the test draws: in parts, killed, gone on with, and what its page says."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkd.data.prepared import read_split
from mlkd.losses import Bce
from mlkd.metrics import mean_average_precision
from mlkd.progress import silent
from mlkd.train import NonFiniteLoss
from pipeline.compare import run, runs
from pipeline.compare.methods import METHODS, Compare, Method
from pipeline.compare.plot import plot
from pipeline.compare.table import read_table
from pipeline.recipe import Recipe, load_recipe
from pipeline.stage import Context, Line, Stage
from tests import commands, drawings

PROTOCOL = """
compare:
  seeds: 2
  epochs: 2
  replicates: 40
  methods:
    - {name: none}
    - {name: mld, scaled: [{kind: label_kl}], factors: [0.5, 1, 100]}
"""
NAMES = [f"{method}-seed{seed}" for seed in (0, 1) for method in ("none", "mld")]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn, folder = (tmp_path_factory.mktemp(name) for name in ("drawn", "compared"))
    drawings.draw(drawn)
    recipe = drawings.write_recipe(drawn, folder)
    recipe.write_text(recipe.read_text() + PROTOCOL)
    return folder


@pytest.fixture(scope="module")
def part(work: Path) -> dict[str, str]:
    """The page's files after one method and one seed."""
    code, log = commands.run(work, "compare", "--recipe", "tiny.yaml", "--methods", "none", "--seeds", "1")
    assert code == 0, log
    assert "report.html: partial, none: 1 of 2 seeds not run; mld: grid not finished; mld: 2 of 2 seeds not run" in log
    return {file.name: file.read_text() for file in (work / "runs/tiny/compare").glob("report.*")}


@pytest.fixture(scope="module")
def finished(work: Path, part: dict[str, str]) -> set[str]:
    """The runs that were there when the rest was killed, and are still what they were after it was gone on with."""
    started = commands.start(work, "compare", "--recipe", "tiny.yaml")
    last = work / "runs/tiny/compare/final/mld-seed1.partial"
    while started.running() and not last.exists():
        time.sleep(0.01)
    assert started.running(), started.wait()
    started.kill()
    before = written(work)
    code, log = commands.run(work, "compare", "--recipe", "tiny.yaml")
    assert code == 0, log
    assert "report.html: whole" in log
    assert before.items() <= written(work).items()
    return set(before)


def written(work: Path) -> dict[str, int]:
    done = work.glob("runs/tiny/compare/*/*/stage.json")
    return {file.parent.name: file.stat().st_mtime_ns for file in done if ".partial" not in str(file)}


@pytest.fixture
def recipe(work: Path) -> Recipe:
    return load_recipe(str(work / "tiny.yaml"))


def test_a_part_says_that_it_is_one_and_what_is_missing(part: dict[str, str]) -> None:
    assert sorted(part) == ["report.html", "report.json", "report.md"]
    facts = json.loads(part["report.json"])
    assert facts["partial"] is True
    assert facts["missing"] == ["none: 1 of 2 seeds not run", "mld: grid not finished", "mld: 2 of 2 seeds not run"]
    for name in ("report.html", "report.md"):
        assert "methods compared" in part[name]
        assert "partial" in part[name]
        assert "mld: 2 of 2 seeds not run" in part[name]
    assert "http" not in part["report.html"].replace("http-equiv", "")


def test_killed_it_goes_on_and_keeps_what_was_finished(work: Path, finished: set[str]) -> None:
    assert {"none-seed0", "mld-seed0", "none-seed1", "mld", "mld-x0.5", "mld-x1", "mld-x100"} <= finished
    assert {file.name for file in (work / "runs/tiny/compare/test").iterdir()} == set(NAMES)
    page = (work / "runs/tiny/compare/report.html").read_text()
    assert "partial</" not in page
    assert json.loads((work / "runs/tiny/compare/report.json").read_text())["partial"] is False


def test_again_nothing_runs(work: Path, finished: set[str]) -> None:
    before = written(work)
    code, log = commands.run(work, "compare", "--recipe", "tiny.yaml")
    assert code == 0, log
    assert ": done in" not in log
    assert written(work) == before


def test_the_table_holds_what_the_scores_say(work: Path, recipe: Recipe, finished: set[str]) -> None:
    table = read_table(recipe, work / "runs/tiny")
    test = read_split(work / "runs/tiny/data", "test")
    maps = {name: [scored(work, name, seed, test) for seed in (0, 1)] for name in ("none", "mld")}
    for row in table.rows:
        assert list(row.maps.values()) == pytest.approx(maps[row.method])
        assert row.map is not None
        assert row.map.mean == pytest.approx(sum(maps[row.method]) / 2)
        assert row.map.sd == pytest.approx(abs(maps[row.method][0] - maps[row.method][1]) / 2**0.5)
        assert row.step_ms == pytest.approx(step_ms(work, row.method))
        assert row.major
        assert row.minor
    none, mld = table.rows
    assert none.to_no_teacher is none.to_published is mld.to_published is None
    assert mld.to_no_teacher is not None
    assert mld.to_no_teacher.value == pytest.approx(np.mean(maps["mld"]) - np.mean(maps["none"]))
    assert mld.to_no_teacher.low < mld.to_no_teacher.high


def step_ms(work: Path, method: str) -> float:
    """64 pictures in batches of 16."""
    epochs = [json.loads((work / f"runs/tiny/compare/final/{method}-seed{n}/history.json").read_text()) for n in (0, 1)]
    return 1000 * sum((one["seconds"] + two["seconds"]) / 2 / 4 for one, two in epochs) / 2


def scored(work: Path, method: str, seed: int, test: Any) -> float:
    scores = np.load(work / f"runs/tiny/compare/test/{method}-seed{seed}/scores.npy")
    return mean_average_precision(scores, test.targets)


def test_the_grid_decides_on_select_what_is_trained(work: Path, recipe: Recipe, finished: set[str]) -> None:
    folder = work / "runs/tiny/compare"
    tried = {}
    for factor in ("0.5", "1", "100"):
        history = json.loads((folder / f"grid/mld-x{factor}/history.json").read_text())
        assert len(history) == 1  # half of the epochs
        tried[factor] = max(epoch["select_map"] for epoch in history)
    chosen = json.loads((folder / "chosen/mld/chosen.json").read_text())
    assert chosen["select_map"] == tried
    assert tried[f"{chosen['factor']:g}"] == max(tried.values())
    assert len(json.loads((folder / "final/mld-seed0/history.json").read_text())) == 2
    assert read_table(recipe, work / "runs/tiny").rows[1].factor == chosen["factor"]


def test_only_the_tested_weights_stay(work: Path, finished: set[str]) -> None:
    weights = (work / "runs/tiny/compare").rglob("*.safetensors")
    assert sorted(str(file.relative_to(work / "runs/tiny/compare/final")) for file in weights) == sorted(
        f"{name}/best.safetensors" for name in NAMES
    )


def test_runs_of_another_protocol_do_not_count(work: Path, recipe: Recipe, finished: set[str]) -> None:
    longer = replace(recipe, compare=replace(recipe.compare, epochs=4))
    table = read_table(longer, work / "runs/tiny")
    assert [row.maps for row in table.rows] == [{}, {}]
    assert table.missing == ("none: 2 of 2 seeds not run", "mld: grid not finished", "mld: 2 of 2 seeds not run")
    assert plot(table.rows, 1040) is None
    another = replace(recipe, compare=replace(recipe.compare, seeds=3))
    assert read_table(another, work / "runs/tiny").missing == tuple(
        f"{name}: 1 of 3 seeds not run" for name in ("none", "mld")
    )


@pytest.mark.parametrize("width", [1040, 380])
def test_the_drawing_is_inside_its_frame(work: Path, recipe: Recipe, finished: set[str], width: int) -> None:
    drawn = plot(read_table(recipe, work / "runs/tiny").rows, width)
    assert drawn is not None
    assert [panel.title for panel in drawn.panels] == ["test mAP", "difference of mAP"]
    for panel in drawn.panels:
        frame = panel.frame
        assert 0 < frame.left < frame.right <= drawn.width
        assert 0 < frame.top < frame.bottom <= drawn.height
        xs = [x for line in panel.lines for x in line.dots]
        xs += [x for line in panel.lines for bar in line.bars for x in (bar.low, bar.x, bar.high)]
        assert xs
        assert all(frame.left <= x <= frame.right for x in xs)
        assert all(frame.top <= line.y <= frame.bottom for line in panel.lines)


def test_a_diverged_run_is_told_and_not_counted(
    work: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: set[str]
) -> None:
    """The grid goes on with the other factors; a run that counts is named on the page."""

    def diverging(model: Any, training: Any, *arguments: Any, seed: int, **more: Any) -> None:
        if training.losses[-1].weight == 100.0 or seed == 1:
            raise NonFiniteLoss("training step 3")
        (arguments[2] / "history.json").write_text('[{"select_map": 0.25}]')

    monkeypatch.setattr(runs, "train", diverging)
    mld = recipe.compare.methods[1]
    stages = {stage.name: stage for stage in runs.line(recipe, tmp_path).stages}
    inputs = {name: work / "runs/tiny" / name for name in ("data", "teacher_outputs")}
    for factor in mld.factors:
        name = runs.grid_name(mld, factor)
        (tmp_path / name).mkdir(parents=True)
        stages[name].run(Context(tmp_path / name, inputs, silent))
        inputs[name] = tmp_path / name
    name = runs.chosen_name(mld)
    (tmp_path / name).mkdir(parents=True)
    stages[name].run(Context(tmp_path / name, inputs, silent))
    chosen = json.loads((tmp_path / name / "chosen.json").read_text())
    assert chosen == {"factor": 0.5, "select_map": {"0.5": 0.25, "1": 0.25, "100": None}}
    inputs[name] = tmp_path / name
    for name in (runs.final_name(mld, 1), runs.test_name(mld, 1)):
        (tmp_path / name).mkdir(parents=True)
        stages[name].run(Context(tmp_path / name, inputs, silent))
        inputs[name] = tmp_path / name
    assert json.loads((inputs[runs.test_name(mld, 1)] / "test.json").read_text()) == {"map": None}


def test_a_forced_stage_runs_again_once(tmp_path: Path) -> None:
    """Though every seed is a run of the line of its own."""
    ran = []
    line = Line((Stage(name="teacher_outputs", run=ran.append), Stage(name="one", run=ran.append)), tmp_path)
    line.run()
    line = replace(line, force=frozenset({"teacher_outputs", "one"}))
    line = run._run(line, [], lambda _: silent)
    line = run._run(line, ["one"], lambda _: silent)
    run._run(line, ["one"], lambda _: silent)
    assert [context.out.name for context in ran[2:]] == ["teacher_outputs.partial", "one.partial"]


def test_only_losses_on_stage_maps_have_the_teacher_at_hand(recipe: Recipe, tmp_path: Path) -> None:
    compared = replace(recipe, compare=Compare())
    reads = {stage.name: stage.reads for stage in runs.line(compared, tmp_path).stages}
    assert "teacher" in reads["compare/grid/reviewkd-x1"]
    assert reads["compare/grid/kd-x1"] == reads["compare/final/none-seed4"] == ("data", "teacher_outputs")


def test_every_method_is_in_the_protocol_by_default() -> None:
    assert [method.name for method in Compare().methods] == [
        "none", "mse", "partial_softmax", "rkd", "pkt", "reviewkd", "kd", "mld", "l2d",
    ]  # fmt: skip
    for method in METHODS:
        assert method.losses(2.0)[0] == Bce()
        for loss, doubled in zip(method.scaled, method.losses(2.0)[len(method.fixed) :], strict=True):
            assert doubled == replace(loss, weight=2 * loss.weight)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (partial(Compare, seeds=0), "compare.seeds: expected 1..1000, got 0"),
        (partial(Compare, methods=(Method(name="a"), Method(name="a"))), "expected at least one and distinct names"),
        (partial(Method, name="a/b"), "name: expected small letters, digits and _, got 'a/b'"),
        (partial(Method, name="a", factors=(1.0, 1.0, 2.0)), r"factors: expected three different numbers above 0"),
        (partial(Method, name="a", scaled=(Bce(),)), r"method a: expected at least one loss and each kind once"),
    ],
)
def test_a_fault_in_the_protocol_is_named(change: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        change()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--methods", "mdl"), "--methods: expected some of none, mld, got 'mdl'"),
        (("--seeds", "3"), "--seeds: expected 1..2, got 3"),
        (("--force", "compare/grid/mld-x2"), "--force: expected one of "),
    ],
)
def test_what_the_protocol_has_not(work: Path, option: tuple[str, str], told: str) -> None:
    code, log = commands.run(work, "compare", "--recipe", "tiny.yaml", *option)
    assert code == 2
    assert told in log
