"""The chart for slides, as SVG and PNG: the page's drawing with a title and a legend, on white."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report.devices import Device
from benchmarks.report.markdown import environment
from benchmarks.report.rows import PRECISIONS, RUNTIMES
from benchmarks.report.scatter import DASHES, INNER, Scatter

WIDTH, ROW_PX, TITLE_PX = 1040, 18, 36
PNG_ZOOM = 2
TEMPLATES = Path(__file__).parent / "templates"
NOT_IN_XML = re.compile(r"[^\t\n\r -\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a sign, a line of `dashes` or both, and the meaning."""

    text: str
    shape: str = "fp32"
    kind: str = "ink"
    hue: str = ""
    inner: str = ""
    dashes: str | None = None

    @property
    def width(self) -> float:
        """In pixels, as wide as the widest system fonts need."""
        return 34 + 7.1 * len(self.text) + (28 if self.dashes is not None else 0)


def draw_slides(view: Mapping[str, Any], drawing: Scatter | None, out: Path) -> None:
    """Write chart.svg and chart.png: same facts and fonts, same bytes; an empty frame without a drawing."""
    keys = _placed(_keys(drawing, [device for device in view["devices"] if device.measured])) if drawing else []
    head = TITLE_PX + ROW_PX * (1.5 + max((row for _, row, _ in keys), default=0))
    facts = {"drawing": drawing, "keys": keys, "signs": signs(drawing) if drawing else "", "head": head, "width": WIDTH}
    template = environment(TEMPLATES, html=True).get_template("slide.svg.jinja")
    svg = NOT_IN_XML.sub("□", template.render(view, **facts))
    (out / "chart.svg").write_text(svg, encoding="utf-8")
    (out / "chart.png").write_bytes(rasterize(svg))


def rasterize(svg: str) -> bytes:
    """Convert SVG to PNG with the fonts of the system; where there is none, with the font inside Pillow."""
    import resvg_py
    from PIL import ImageFont

    spare = ImageFont.load_default(size=12)
    assert isinstance(spare, ImageFont.FreeTypeFont), "Pillow is built without FreeType"
    with tempfile.NamedTemporaryFile(suffix=".ttf") as font:
        font.write(spare.font_bytes)
        font.flush()
        family = spare.getname()[0]
        return resvg_py.svg_to_bytes(
            svg_string=svg, zoom=PNG_ZOOM, font_files=[font.name], font_family=family, sans_serif_family=family
        )


def signs(drawing: Scatter) -> str:
    """What rings and signs mean, of those that occur."""
    marks = drawing.marks
    parts = (
        "ring and bold: to deploy" if any(mark.chosen for mark in marks) else "",
        "tick on the axis: candidate that was not trained" if drawing.cloud and drawing.cloud.untrained else "",
        "~ timing unstable or unsettled" if any(mark.row.warnings for mark in marks) else "",
        "† mAP measured on another device" if any(mark.row.elsewhere for mark in marks) else "",
    )
    return " · ".join(filter(None, parts))


def _keys(drawing: Scatter, devices: Sequence[Device]) -> list[Key]:
    """Shapes, colours and line styles that occur."""
    precisions, runtimes = {mark.shape for mark in drawing.marks}, {mark.hue for mark in drawing.marks}
    keys = [Key(name, shape=name) for name in PRECISIONS if name in precisions]
    keys += [Key(name, shape="fp16", kind="", hue=name) for name in (*RUNTIMES, "other") if name in runtimes]
    keys += [Key("reference", kind="ink hollow")] if any(not mark.row.engine for mark in drawing.marks) else []
    for device in devices:
        name = f"front on {device.letter} {device.name}" if len(devices) > 1 else "Pareto front"
        dashes, inner = DASHES[device.at % len(DASHES)], INNER[device.at % len(INNER)]
        keys.append(Key(name, shape="fp32" if len(devices) > 1 else "", inner=inner, dashes=dashes))
    cloud = drawing.cloud
    if cloud and cloud.trained:
        keys.append(Key(f"candidate of the search, mAP on select after {cloud.epochs or '?'} epochs", kind="candidate"))
    return keys


def _placed(keys: Sequence[Key]) -> list[tuple[float, int, Key]]:
    """Give each key its x and the number of its line."""
    placed: list[tuple[float, int, Key]] = []
    x, row = 12.0, 0
    for key in keys:
        if x + key.width > WIDTH and x > 12:
            x, row = 12.0, row + 1
        placed.append((round(x, 1), row, key))
        x += key.width
    return placed
