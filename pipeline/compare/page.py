"""The page of a comparison: report.json, report.md and report.html in one folder, none of which needs a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.parsing import to_json
from benchmarks.report import figures
from benchmarks.report.gaps import draw_or_name
from benchmarks.report.markdown import environment
from benchmarks.report.render import TEMPLATES as REPORT_TEMPLATES
from mlkd.core.files import write_file
from mlkd.models.network import Model
from pipeline.compare import runs
from pipeline.compare.plot import draw_panels, is_drawable
from pipeline.compare.statistics import Gain, Spread
from pipeline.compare.table import Row, Table
from pipeline.recipe.methods import Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.identity import plain

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("Weights ×", "Seeds", "Test mAP", "Major", "Minor", "To no teacher", "To l2d", "ms a step")


def render(recipe: Recipe, table: Table, out: Path) -> None:
    """Write the three files into `out`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    facts = {"schema": 1, "recipe": recipe.name, "partial": table.partial, **plain(table)}
    facts["protocol"] = {
        **plain(recipe.compare),
        "epochs": runs.epochs(recipe)[1],
        "grid_epochs": runs.epochs(recipe)[0],
    }
    text = json.dumps(to_json(facts), indent=1, ensure_ascii=False, allow_nan=False)
    write_file(out / "report.json", text + "\n")
    view = _view(recipe, table)
    write_file(out / "report.md", environment(TEMPLATES).get_template("compare.md.jinja").render(view))
    style = Markup((REPORT_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # our own file
    page = environment(TEMPLATES, html=True).get_template("compare.html.jinja")
    write_file(out / "report.html", page.render(view, style=style))


def _view(recipe: Recipe, table: Table) -> dict[str, Any]:
    gaps = [
        f"the interval of {row.method} is not drawn: {_gain(gain)[1]} does not contain {_gain(gain)[0]}"
        for row in table.rows
        for gain in (row.to_no_teacher, row.to_published)
        if gain and not is_drawable(gain)
    ]
    panels = draw_or_name("the plot", lambda: draw_panels(table.rows), [], gaps)
    ranked = sorted(table.rows, key=lambda row: -(row.map.mean if row.map else -1.0))
    return {
        "recipe": recipe.name,
        "table": table,
        "verdict": _verdict(table),
        "columns": COLUMNS,
        "rows": [(row.method, _cells(row)) for row in ranked],
        "panels": panels,
        "gaps": gaps,
        "protocol": _protocol(recipe, table),
        "methods": [_method(method, row) for method, row in zip(recipe.compare.methods, table.rows, strict=True)],
    }


def _verdict(table: Table) -> list[str]:
    """Which methods beat the student without a teacher; one training says nothing about a method."""
    every = [(row.method, row.to_no_teacher) for row in table.rows if row.to_no_teacher]
    gains = [(name, gain) for name, gain in every if gain.seeds > 1]
    told = {
        "Better than without a teacher": [name for name, gain in gains if gain.low > 0],
        "Worse than without a teacher": [name for name, gain in gains if gain.high < 0],
        "Not significantly different": [name for name, gain in gains if gain.low <= 0 <= gain.high],
        "Not judged, trained with one seed only": [name for name, gain in every if gain.seeds == 1],
    }
    return [f"{what}: {', '.join(names)}." for what, names in told.items() if names]


def _cells(row: Row) -> list[tuple[str, str]]:
    """For each column what is written large and what is written small."""
    return [
        ("" if row.factor is None else f"{row.factor:g}", ""),
        (str(len(row.maps)), ""),
        *(_spread(spread) for spread in (row.map, row.major, row.minor)),
        *(_gain(gain) for gain in (row.to_no_teacher, row.to_published)),
        (figures.milliseconds(row.step_ms), ""),
    ]


def _spread(spread: Spread | None) -> tuple[str, str]:
    if spread is None:
        return figures.ABSENT, ""
    return f"{100 * spread.mean:.2f}", "" if spread.sd is None else f"± {100 * spread.sd:.2f}"


def _gain(gain: Gain | None) -> tuple[str, str]:
    if gain is None:
        return figures.ABSENT, ""
    return figures.signed(gain.value, 2), f"{figures.signed(gain.low, 2)} to {figures.signed(gain.high, 2)}"


def _method(method: Method, row: Row) -> tuple[str, str, str]:
    """Name, losses with their weights, and what the grid found on select."""
    scaled = [f"{loss.kind} {loss.weight:g}" for loss in method.scaled]
    losses = [f"{loss.kind} {loss.weight:g}" for loss in method.fixed]
    losses += [f"×({', '.join(f'{factor:g}' for factor in method.factors)}) of {' + '.join(scaled)}"] if scaled else []
    grid = [f"×{at}: {'diverged' if value is None else figures.points(value)}" for at, value in row.select_map.items()]
    return method.name, " + ".join(losses), ", ".join(grid) or figures.ABSENT


def _protocol(recipe: Recipe, table: Table) -> list[tuple[str, str]]:
    compare, (few, many) = recipe.compare, runs.epochs(recipe)
    return [
        ("student", f"{_net(recipe.student.model)}, the same for every method"),
        ("teacher", f"{' and '.join(_teachers(recipe))}; what it says is recorded once"),
        ("views", f"{recipe.views.count} of each image; every method of a seed sees the same ones in the same order"),
        (
            "grid",
            f"three factors of a method's weights, seed 0, {few} epochs; the mAP on select of the best one decides",
        ),
        ("runs", f"{many} epochs with each of {compare.seeds} seeds; the epoch that is best on select is tested"),
        ("test set", "read once a run, after it; nothing is chosen on it"),
        ("spread", "mean ± standard deviation between seeds (n − 1)"),
        (
            "differences",
            "paired: same seed, same images, averaged over the seeds. The 95 % interval (t) holds for the choice of "
            "test images and of seeds; with one seed it holds for the choice of images only and says nothing about "
            "another training.",
        ),
        ("major, minor", "only objects in this role count; images with the label in the other alone are left out"),
        ("ms a step", f"median epoch, mean over seeds; on {'; '.join(table.machines) or figures.ABSENT}"),
    ]


def _net(model: Model) -> str:
    return f"{model.backbone} at {model.image_px} px"


def _teachers(recipe: Recipe) -> list[str]:
    trained = [_net(recipe.teacher.model)] if recipe.teacher else []
    return [*trained, *(f"{ready.path.name} at {ready.image_px} px" for ready in recipe.ready_teachers)]
