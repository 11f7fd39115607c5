"""A comparison whose trainings diverge or are interrupted; training is replaced by a stand-in."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlkd.core.labels import Labels
from mlkd.core.progress import silent
from mlkd.losses import LabelKL, Mse
from mlkd.training.divergence import NonFiniteLossError
from pipeline.compare import run, runs, scales
from pipeline.compare.table import Table
from pipeline.recipe.methods import Compare, Method
from pipeline.recipe.schema import Recipe
from tests.helpers import drawings, taggers

LABELS = Labels(tuple(sorted(drawings.COLOURS)))
METHODS = (
    Method(name="none"),
    Method(name="mse", scaled=(Mse(),), shares=(0.1, 1.0, 10.0)),
    Method(name="mld", scaled=(LabelKL(),), shares=(0.5, 1.0, 100.0)),
)
Fault = Callable[[str, float, int], BaseException | None]
Diverged = tuple[Path, Table, list[str]]


def compare(recipe: Recipe, folder: Path, fault: Fault, trained: list[str]) -> Table:
    """Run the comparison; `fault(kind, weight, seed)` of a training's last loss is raised instead of training."""

    def train(model: Any, training: Any, views: Any, data: Path, out: Path, *, seed: int, **more: Any) -> None:
        last = training.losses[-1]
        trained.append(f"{last.kind}-x{last.weight:g}-seed{seed}")
        if error := fault(last.kind, last.weight, seed):
            raise error
        taggers.save(out, LABELS, seed=seed)
        (out / "history.json").write_text('[{"select_map": 0.25, "seconds": 2.0}]')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "train", train)
        patch.setattr(scales, "read_factor", lambda _context, _name, share: share)
        return run.compare(recipe, folder, lambda _: silent)


@pytest.fixture(scope="module")
def protocol(recipe: Recipe) -> Recipe:
    return replace(recipe, compare=Compare(seeds=2, epochs=2, methods=METHODS, wider={"mld": ()}))


def diverging(kind: str, weight: float, seed: int) -> BaseException | None:
    """Mse always, label_kl at the largest share and with seed 1."""
    diverges = kind == "mse" or (kind == "label_kl" and (weight == 100 or seed == 1))
    return NonFiniteLossError("training step 3") if diverges else None


@pytest.fixture(scope="module")
def diverged(protocol: Recipe, taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Diverged:
    """The folder, the table and what was trained."""
    folder, trained = tmp_path_factory.mktemp("runs") / "diverged", list[str]()
    shutil.copytree(taught, folder)
    return folder, compare(protocol, folder, diverging, trained), trained


def test_a_diverged_share_is_not_chosen(diverged: Diverged) -> None:
    chosen = json.loads((diverged[0] / "compare/chosen/mld/chosen.json").read_text())
    assert chosen == {"value": 0.5, "select_map": {"0.5": 0.25, "1": 0.25, "100": None}}


def test_a_method_that_diverges_at_every_share_is_not_trained_further(diverged: Diverged) -> None:
    folder, table, trained = diverged
    grid = [f"mse-x{share}-seed0" for share in ("0.1", "1", "10")]
    assert [name for name in trained if name.startswith("mse")] == grid
    chosen = json.loads((folder / "compare/chosen/mse/chosen.json").read_text())
    assert chosen == {"value": None, "select_map": {"0.1": None, "1": None, "10": None}}
    for seed in (0, 1):
        assert json.loads((folder / f"compare/final/mse-seed{seed}/outcome.json").read_text()) == {"select_map": None}
        assert json.loads((folder / f"compare/test/mse-seed{seed}/test.json").read_text()) == {"map": None}
    row = table.rows[1]
    assert (row.method, row.value, row.maps, row.map, row.gains["none"]) == ("mse", None, {}, None, None)
    assert row.select_map == chosen["select_map"]


def test_a_diverged_training_is_named_and_not_counted(diverged: Diverged) -> None:
    folder, table, trained = diverged
    assert trained[-2:] == ["bce-x1-seed1", "label_kl-x0.5-seed1"]
    assert json.loads((folder / "compare/test/mld-seed1/test.json").read_text()) == {"map": None}
    assert table.missing == ("mse: diverged at every value", "mld: training diverged with seed 1")
    none, _, mld = table.rows
    assert (list(none.maps), list(mld.maps), mld.value) == ([0, 1], [0], 0.5)
    assert none.map is not None
    assert mld.map is not None
    assert mld.map.mean == mld.maps[0] == none.maps[0]  # the stand-in saves one model per seed
    assert mld.map.sd is None
    assert mld.gains["none"] is not None
    assert (mld.gains["none"].value, mld.gains["none"].seeds) == (0.0, 1)


def test_the_page_names_what_diverged(diverged: Diverged) -> None:
    folder, table, _ = diverged
    pages = {file.suffix: file.read_text() for file in (folder / "compare").glob("report.*")}
    facts = json.loads(pages[".json"])
    assert facts["partial"] is True
    assert facts["missing"] == list(table.missing)
    assert [len(row["maps"]) for row in facts["rows"]] == [2, 0, 1]
    for text in table.missing:
        assert f"<li>{text}</li>" in pages[".html"]
        assert f"- {text}\n" in pages[".md"]
    assert "| mse |  | 0 | – | – | – | – | – |" in pages[".md"]
    assert "| mld | 0.5 | 1 |" in pages[".md"]
    assert "| 0.1: diverged, 1: diverged, 10: diverged |" in pages[".md"]
    assert "0.5: 25.0, 1: 25.0, 100: diverged" in pages[".html"]
    drawing = pages[".html"].partition("<svg")[2].partition("</svg>")[0]
    assert ">mld</text>" in drawing
    assert ">mse</text>" not in drawing


def test_diverged_trainings_are_not_repeated(protocol: Recipe, diverged: Diverged) -> None:
    again: list[str] = []
    assert compare(protocol, diverged[0], diverging, again).missing == diverged[1].missing
    assert again == []


def test_comparison_stopped_in_the_grid_writes_a_page(protocol: Recipe, taught: Path, tmp_path: Path) -> None:
    def stopping(kind: str, weight: float, seed: int) -> BaseException | None:
        return KeyboardInterrupt() if kind == "label_kl" else None

    folder = shutil.copytree(taught, tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        compare(protocol, folder, stopping, [])
    facts = json.loads((folder / "compare/report.json").read_text())
    assert facts["partial"] is True
    assert "mld: grid not finished" in facts["missing"]
    assert "mse: grid not finished" not in facts["missing"]
    assert facts["rows"][1]["select_map"] == {"0.1": 0.25, "1": 0.25, "10": 0.25}
    assert "mld: grid not finished" in (folder / "compare/report.html").read_text()


def test_a_best_value_at_the_edge_stops_before_anything_is_tested_and_a_wider_grid_goes_on(
    protocol: Recipe, taught: Path, tmp_path: Path
) -> None:
    def fault(kind: str, weight: float, seed: int) -> BaseException | None:
        return NonFiniteLossError("training step 3") if kind == "mse" or weight < 0.4 else None

    folder = shutil.copytree(taught, tmp_path / "edge")
    edge, trained = replace(protocol, compare=replace(protocol.compare, wider={})), list[str]()
    message = (
        r"got mld 0.5 at the edge; nothing was tested\. Add compare.wider: {mld: \[0.17\]} to the recipe and rerun"
    )
    with pytest.raises(ValueError, match=message):
        compare(edge, folder, fault, trained)
    assert not (folder / "compare/test").exists()
    assert "At the edge of their grids" in (folder / "compare/report.md").read_text()
    wider = replace(edge, compare=replace(edge.compare, wider={"mld": (0.17,)}))
    again: list[str] = []
    table = compare(wider, folder, fault, again)
    assert again[0] == "label_kl-x0.17-seed0"  # the values before it are not trained again
    assert list(table.rows[2].select_map) == ["0.17", "0.5", "1", "100"]
    assert table.rows[2].value == 0.5
    assert len(table.rows[2].maps) == 2
