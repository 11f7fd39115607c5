"""A comparison of two methods from the command line: a part of it, killed, resumed, and its table."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import Split, read_split
from pipeline.compare import runs
from pipeline.compare.plot import draw_panels
from pipeline.compare.table import read_table
from pipeline.recipe.schema import Recipe
from tests.helpers import commands

METHODS = {"none": 2, "none_long": 1, "mld": 2, "mld_maps": 2}  # with their seeds
NAMES = [f"{method}-seed{seed}" for seed in (0, 1) for method, seeds in METHODS.items() if seed < seeds]


@pytest.fixture(scope="module")
def work(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(taught, folder / "runs/tiny")
    return folder


@pytest.fixture(scope="module")
def finished(work: Path, recipe_file: Path) -> set[str]:
    """The stages that were finished when the command was killed; rerunning it has not changed them."""
    command = ("compare", "--recipe", str(recipe_file))
    code, log = commands.run(work, *command, "--methods", "none", "--seeds", "1")
    assert code == 0, log
    assert (
        "report.html: partial, none: 1 of 2 seeds not run; none_long: 1 of 1 seeds not run; mld: grid not finished; "
        "mld: 2 of 2 seeds not run; " in log
    )
    started = commands.start(work, *command)
    last = work / "runs/tiny/compare/final/mld-seed1.partial"
    while started.running() and not last.exists():
        time.sleep(0.01)
    assert started.running(), started.wait()
    started.kill()
    before = written(work)
    code, log = commands.run(work, *command)
    assert code == 0, log
    assert "report.html: whole" in log
    assert before.items() <= written(work).items()
    return set(before)


def written(work: Path) -> dict[str, int]:
    done = work.glob("runs/tiny/compare/*/*/stage.json")
    names = {file.parent.relative_to(work / "runs/tiny/compare").as_posix(): file for file in done}
    return {name: file.stat().st_mtime_ns for name, file in names.items() if ".partial" not in name}


def read(work: Path, name: str) -> Any:
    return json.loads((work / "runs/tiny/compare" / name).read_text())


def test_killed_comparison_resumes_and_then_nothing_is_left_to_run(
    work: Path, recipe: Recipe, finished: set[str]
) -> None:
    grid = {
        "grid/none-0.5",
        "grid/none-1",
        "chosen/none",
        "scale/mld",
        "grid/mld-0.5",
        "grid/mld-1",
        "grid/mld-100",
        "chosen/mld",
        "grid/mld_maps-2",
        "chosen/mld_maps",
    }
    assert grid | {f"{kind}/{name}" for kind in ("final", "test") for name in NAMES[:4]} <= finished
    assert {file.name for file in (work / "runs/tiny/compare/test").iterdir()} == set(NAMES)
    assert "partial</" not in (page := (work / "runs/tiny/compare/report.html").read_text())
    assert "http" not in page.replace("http-equiv", "")
    assert read(work, "report.json")["partial"] is False
    assert not any(decision.runs for decision in runs.pipeline(recipe, work / "runs/tiny").plan())


@pytest.mark.usefixtures("finished")
def test_table_equals_an_evaluation_of_the_scores(work: Path, recipe: Recipe) -> None:
    table = read_table(recipe, work / "runs/tiny")
    test = read_split(work / "runs/tiny/data", "test")
    maps = {name: [map_of(work, name, seed, test) for seed in range(seeds)] for name, seeds in METHODS.items()}
    for row in table.rows:
        assert list(row.maps.values()) == pytest.approx(maps[row.method])
        assert row.map is not None
        assert row.map.mean == pytest.approx(np.mean(maps[row.method]))
        if METHODS[row.method] == 2:
            assert row.map.sd == pytest.approx(abs(maps[row.method][0] - maps[row.method][1]) / 2**0.5)
        histories = [read(work, f"final/{row.method}-seed{seed}/history.json") for seed in range(METHODS[row.method])]
        seconds = [len(history) * median(epoch["seconds"] for epoch in history) for history in histories]
        assert row.minutes == pytest.approx(np.mean(seconds) / 60)
        assert row.parts["major objects"]
    none, longer, mld, added = table.rows
    assert none.gains.keys() == {"mld"}
    assert mld.gains["none"] is not None
    assert mld.gains["none"].value == pytest.approx(np.mean(maps["mld"]) - np.mean(maps["none"]))
    assert mld.gains["none"].low < mld.gains["none"].high
    assert added.gains["mld"] is not None
    assert added.gains["mld"].value == pytest.approx(np.mean(maps["mld_maps"]) - np.mean(maps["mld"]))
    assert longer.gains["none"] is not None
    assert longer.gains["none"].value == pytest.approx(maps["none_long"][0] - maps["none"][0])  # of the common seed


def map_of(work: Path, method: str, seed: int, test: Split) -> float:
    scores = np.load(work / f"runs/tiny/compare/test/{method}-seed{seed}/scores.npy")
    return mean_average_precision(scores, test.targets)


@pytest.mark.usefixtures("finished")
def test_grid_selects_the_share_with_the_highest_select_map(work: Path, recipe: Recipe) -> None:
    maps = {}
    for share in ("0.5", "1", "100"):
        history = read(work, f"grid/mld-{share}/history.json")
        assert len(history) == 1  # half of the epochs
        maps[share] = max(epoch["select_map"] for epoch in history)
    chosen = read(work, "chosen/mld/chosen.json")
    assert chosen["select_map"] == maps
    assert maps[f"{chosen['value']:g}"] == max(maps.values())
    assert len(read(work, "final/mld-seed0/history.json")) == 2
    assert read_table(recipe, work / "runs/tiny").rows[2].value == chosen["value"]


@pytest.mark.usefixtures("finished")
def test_only_the_tested_weights_are_kept(work: Path) -> None:
    weights = (work / "runs/tiny/compare").rglob("*.safetensors")
    assert {str(file.parent.relative_to(work / "runs/tiny/compare")) for file in weights} == {
        "start",
        *(f"final/{name}" for name in NAMES),
    }


@pytest.mark.usefixtures("finished")
def test_results_of_another_protocol_do_not_count(work: Path, recipe: Recipe) -> None:
    longer = replace(recipe, compare=replace(recipe.compare, epochs=4))
    table = read_table(longer, work / "runs/tiny")
    assert [row.maps for row in table.rows] == [{}] * 4
    assert table.missing[:3] == (
        "none: grid not finished",
        "none: 2 of 2 seeds not run",
        "none_long: 1 of 1 seeds not run",
    )
    assert draw_panels(table.rows) == []
    another = replace(recipe, compare=replace(recipe.compare, seeds=3))
    assert read_table(another, work / "runs/tiny").missing == tuple(
        f"{name}: 1 of 3 seeds not run" for name, seeds in METHODS.items() if seeds > 1
    )


@pytest.mark.usefixtures("finished")
def test_plot_has_a_mark_for_every_value_inside_its_frame(work: Path, recipe: Recipe) -> None:
    panels = draw_panels(read_table(recipe, work / "runs/tiny").rows)
    kinds = {panel.title: sorted(mark.kind for mark in panel.marks) for panel in panels}
    assert kinds == {
        "test mAP": ["mean"] * 4 + ["seed"] * 7,
        "difference of mAP": ["mld"] * 3 + ["none"] * 3,
    }
    for panel in panels:
        frame = panel.frame
        assert 0 < frame.left < frame.right <= panel.width
        assert 0 < frame.top < frame.bottom <= panel.height
        assert {name for name, _ in panel.names} == set(METHODS)
        assert all(frame.left <= x <= frame.right for mark in panel.marks for x in (mark.low, mark.x, mark.high))
        assert all(frame.top <= mark.y <= frame.bottom for mark in panel.marks)
