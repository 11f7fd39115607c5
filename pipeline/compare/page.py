"""The page of a comparison: report.json, report.md and report.html, which needs no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.parsing import to_json
from benchmarks.report import figures
from benchmarks.report.markdown import environment
from benchmarks.report.render import TEMPLATES as REPORT_TEMPLATES
from mlkd.core.files import write_file
from mlkd.models.config import Model
from pipeline.compare import runs
from pipeline.compare.plot import draw_panels, is_drawable
from pipeline.compare.statistics import Gain, Spread
from pipeline.compare.table import Row, Table
from pipeline.recipe.methods import CONTROLS, NO_TEACHER, Method
from pipeline.recipe.schema import Recipe
from pipeline.runner.identity import plain

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("Chosen", "Seeds", "Test mAP", *(f"vs. {control}" for control in CONTROLS), "Training, min")


def render(recipe: Recipe, table: Table, out: Path) -> None:
    """Write the three files into `out`, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    few, many = runs.epochs(recipe)
    facts = {"schema": 2, "recipe": recipe.name, "partial": table.partial, **plain(table)}
    facts["protocol"] = {**plain(recipe.compare), "epochs": many, "grid_epochs": few}
    text = json.dumps(to_json(facts), indent=1, ensure_ascii=False, allow_nan=False)
    write_file(out / "report.json", text + "\n")
    view = _view(recipe, table)
    write_file(out / "report.md", environment(TEMPLATES).get_template("compare.md.jinja").render(view))
    style = Markup((REPORT_TEMPLATES / "page.css").read_text(encoding="utf-8"))  # our own file
    page = environment(TEMPLATES, html=True).get_template("compare.html.jinja")
    write_file(out / "report.html", page.render(view, style=style))


def _view(recipe: Recipe, table: Table) -> dict[str, Any]:
    ranked = sorted(table.rows, key=lambda row: -(row.map.mean if row.map else -1.0))
    gains = [(row.method, gain) for row in table.rows for gain in row.gains.values() if gain]
    parts = list(dict.fromkeys(part for row in ranked for part in row.parts))
    return {
        "recipe": recipe.name,
        "table": table,
        "verdict": _verdict(table),
        "columns": COLUMNS,
        "rows": [(row.method, _cells(row)) for row in ranked],
        "parts": parts,
        "by_part": [(row.method, [_spread(row.parts[part]) for part in parts]) for row in ranked if row.parts],
        "panels": draw_panels(table.rows),
        "gaps": [
            f"the interval of {name} is not drawn: {_gain(gain)[1]} does not contain {_gain(gain)[0]}"
            for name, gain in gains
            if not is_drawable(gain)
        ]
        + _edges(table),
        "protocol": _protocol(recipe, table),
        "methods": [_method(method, row) for method, row in zip(recipe.compare.methods, table.rows, strict=True)],
    }


def _verdict(table: Table) -> list[str]:
    """Which methods differ significantly from the controls; one seed is not enough to tell."""
    gains = [(row.method, gain) for row in table.rows if (gain := row.gains.get(NO_TEACHER))]
    verdicts = {
        "Better than without a teacher": [name for name, gain in gains if gain.seeds > 1 and gain.low > 0],
        "Worse than without a teacher": [name for name, gain in gains if gain.seeds > 1 and gain.high < 0],
        "Not significantly different": [name for name, gain in gains if gain.seeds > 1 and gain.low <= 0 <= gain.high],
        "Not judged, trained with one seed only": [name for name, gain in gains if gain.seeds == 1],
    }
    for control in CONTROLS[1:]:
        own = [(row.method, row.gains.get(control)) for row in table.rows]
        verdicts[f"Better than {control}"] = [name for name, gain in own if gain and gain.seeds > 1 and gain.low > 0]
    return [f"{verdict}: {', '.join(names)}." for verdict, names in verdicts.items() if names]


def _edges(table: Table) -> list[str]:
    """The methods whose best value is the least or the greatest of their grid."""
    edges = [f"{row.method} {row.value:g}" for row in table.rows if row.beyond]
    return [f"At the edge of their grids, to be widened with compare.wider: {', '.join(edges)}."] if edges else []


def _cells(row: Row) -> list[tuple[str, str]]:
    """The large and the small text of each column."""
    return [
        ("" if row.value is None else f"{row.value:g}", ""),
        (str(len(row.maps)), ""),
        _spread(row.map),
        *(_gain(row.gains.get(control)) for control in CONTROLS),
        (figures.ABSENT if row.minutes is None else f"{row.minutes:.1f}", ""),
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
    """Name, losses with their weights, and mAP on select by value of the grid."""
    fixed, scaled = ([f"{loss.kind} {loss.weight:g}" for loss in losses] for losses in (method.fixed, method.scaled))
    if method.base:
        fixed.append(f"the losses or learning rate of {method.base} at its best value")
    if scaled:
        fixed.append(f"({' + '.join(scaled)}) at a share of the gradient")
    if method.rates:
        fixed.append("a multiple of the learning rate")
    if method.length != 1:
        fixed.append(f"{method.length:g} times the epochs")
    grid = [
        f"{value}: {'diverged' if found is None else figures.points(found)}" for value, found in row.select_map.items()
    ]
    return method.name, " + ".join(fixed), ", ".join(grid) or figures.ABSENT


def _protocol(recipe: Recipe, table: Table) -> list[tuple[str, str]]:
    few, many = runs.epochs(recipe)
    teachers = [_model(recipe.teacher.model)] if recipe.teacher else []
    teachers += [f"{ready.path.name} at {ready.image_px} px" for ready in recipe.ready_teachers]
    return [
        ("student", f"{_model(recipe.student.model)}, the same for every method"),
        ("teacher", f"{' and '.join(teachers)}; its outputs are recorded once"),
        (
            "views",
            f"{recipe.views.count} augmentations of each image; with the same seed, every method sees the same ones in "
            "the same order",
        ),
        (
            "grid",
            "a method's losses are multiplied by a factor that gives their gradient in the backbone a share of the "
            "norm of the labels' gradient, measured after an epoch without a teacher; several shares, seed 0, "
            f"{few} epochs; the one whose best epoch has the highest mAP on select is chosen. What is added to a "
            "method is added to it at its own chosen share. Without a teacher, the learning rate is chosen in the "
            "same way",
        ),
        (
            "trainings",
            f"{many} epochs with each of at most {recipe.compare.seeds} seeds; the epoch with the highest mAP on "
            "select is tested",
        ),
        ("test set", "scored once after each training; nothing is chosen on it"),
        ("spread", "mean ± standard deviation between seeds (n − 1)"),
        (
            "differences",
            "paired: same seed, same images, averaged over the seeds of both. The intervals (t) cover the choice of "
            "test images and of seeds; with one seed they cover the choice of images only and say nothing about "
            "another training. The variance between seeds is pooled over the methods. "
            f"All {len(table.rows) - 1} intervals of a column together cover 95 % (Bonferroni).",
        ),
        (
            "parts",
            "of objects in one role, images that have the label only in the other role are left out; rare and "
            "frequent labels are thirds, by their training images",
        ),
        ("time", f"median epoch times epochs, mean over seeds; on {'; '.join(table.machines) or figures.ABSENT}"),
    ]


def _model(model: Model) -> str:
    return f"{model.name} at {model.image_px} px"
