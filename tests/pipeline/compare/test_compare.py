"""A comparison of two methods on what the test draws: in parts, killed, gone on with, and what its page says."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import read_split
from pipeline.compare.plot import draw_panels
from pipeline.compare.table import read_table
from pipeline.recipe.schema import Recipe, load_recipe
from tests.helpers import commands, drawings

PROTOCOL = """
compare:
  seeds: 2
  epochs: 2
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
    runs = {file.parent.relative_to(work / "runs/tiny/compare").as_posix(): file for file in done}
    return {name: file.stat().st_mtime_ns for name, file in runs.items() if ".partial" not in name}


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
    grid = {"grid/mld-x0.5", "grid/mld-x1", "grid/mld-x100", "chosen/mld"}
    assert grid | {f"{kind}/{name}" for kind in ("final", "test") for name in NAMES[:3]} <= finished
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
    """64 images in batches of 16."""
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
    assert draw_panels(table.rows) == []
    another = replace(recipe, compare=replace(recipe.compare, seeds=3))
    assert read_table(another, work / "runs/tiny").missing == tuple(
        f"{name}: 1 of 3 seeds not run" for name in ("none", "mld")
    )


def test_the_drawing_is_inside_its_frame(work: Path, recipe: Recipe, finished: set[str]) -> None:
    panels = draw_panels(read_table(recipe, work / "runs/tiny").rows)
    assert [panel.title for panel in panels] == ["test mAP", "difference of mAP"]
    for panel in panels:
        frame = panel.frame
        assert 0 < frame.left < frame.right <= panel.width
        assert 0 < frame.top < frame.bottom <= panel.height
        xs = [x for line in panel.lines for x in line.dots]
        xs += [x for line in panel.lines for bar in line.bars for x in (bar.low, bar.x, bar.high)]
        assert xs
        assert all(frame.left <= x <= frame.right for x in xs)
        assert all(frame.top <= line.y <= frame.bottom for line in panel.lines)


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
