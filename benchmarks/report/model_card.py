"""The model card: what a bundle is for, how good it is, by label, where it ends, and what it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import figures
from benchmarks.report.devices import read_devices
from benchmarks.report.markdown import environment
from benchmarks.report.problems import problems
from benchmarks.report.recommendation import budget_of
from benchmarks.report.rows import ReportRow, read_rows
from benchmarks.report.verdict import judge
from benchmarks.schema import Report, Status
from export.bundle.manifest import EngineEntry, Manifest

CARD = "MODEL_CARD.md"
TEMPLATES = Path(__file__).parent / "templates"
RARE = 20  # positives on tune: below it the expected precision is off by 10 points and more, see docs/thresholds.md
WORST = 5


@dataclass(frozen=True)
class LabelLine:
    """A label as one engine tags it; AP on test, the rest from tune."""

    name: str
    positives: int
    ap: float | None
    threshold: float
    precision: float | None
    recall: float | None


def write_card(manifest: Manifest, report: Report, out: Path) -> None:
    """Write the model card to the file `out`."""
    devices, rows = read_devices(report.devices), read_rows(report.rows)
    verdicts = judge(rows, [device for device in devices if device.measured], budget_of(report.search))
    chosen = next((verdict.chosen for verdict in verdicts if verdict.chosen), None)
    entry = next((e for e in manifest.engines if chosen and e.name == chosen.name), manifest.engines[0])
    lines = _lines(manifest, entry, chosen)
    view = {
        "manifest": manifest,
        "figures": figures,
        "engines": [(engine, _own(rows, devices[0].name, engine.name)) for engine in manifest.engines],
        "home": devices[0],
        "verdicts": verdicts,
        "candidates": len({one.candidate for one in report.search.screen}) if report.search else 0,
        "problems": problems(report, rows, verdicts),
        "entry": entry,
        "chosen": chosen,
        "lines": lines,
        "worst": sorted((line for line in lines if line.ap is not None), key=lambda line: line.ap or 0.0)[:WORST],
        "rare": [line for line in lines if line.positives < RARE],
        "rare_below": RARE,
        "aim": manifest.aim,
        "not_run": _never(rows, "built, not run"),
        "failed": _never(rows, "failed"),
    }
    out.write_text(environment(TEMPLATES).get_template("card.md.jinja").render(view), encoding="utf-8")


def _own(rows: Sequence[ReportRow], device: str, name: str) -> ReportRow | None:
    return next((row for row in rows if row.in_bundle and row.device == device and row.name == name), None)


def _never(rows: Sequence[ReportRow], status: Status) -> list[str]:
    """The engines with that status somewhere, and measured nowhere."""
    measured = {row.name for row in rows if row.measured}
    return sorted({row.name for row in rows if row.in_bundle and row.status == status} - measured)


def _lines(manifest: Manifest, entry: EngineEntry, row: ReportRow | None) -> list[LabelLine]:
    return [
        LabelLine(
            name,
            manifest.tune_positives[index],
            row.label_ap(index) if row else None,
            entry.thresholds[index],
            entry.expected_precision[index],
            entry.expected_recall[index],
        )
        for index, name in enumerate(manifest.labels)
    ]
