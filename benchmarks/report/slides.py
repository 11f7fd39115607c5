"""The chart for slides, as SVG and PNG: same points, intervals, fronts and names as the page's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.report.devices import Device
from benchmarks.report.rows import Row
from benchmarks.report.scatter import FONT_PX, Mark, Scatter, scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 1040, 540
PNG_DPI = 200
DPI = 100
HUES = {"openvino": "#0072b2", "onnxruntime": "#c65a00", "tensorrt": "#00805d", "torch": "#737b84", "other": "#a8538a"}
MARKERS = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "^"}
INNER = ("", ".", "_", "|", "x")  # one a device
LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")  # one a device
POINT = 72 / DPI  # of a pixel


def draw_slides(rows: Sequence[Row], devices: Sequence[Device], chosen: Sequence[Row], title: str, out: Path) -> None:
    """Write chart.svg and chart.png, the same bytes for the same facts; nothing to plot gives an empty frame."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "chart", "svg.fonttype": "path", "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        drawing = scatter(rows, devices, chosen, WIDTH, HEIGHT - 40)
        if drawing is not None:
            _draw(figure.add_axes(_box(drawing)), drawing, [one for one in devices if one.measured])
            figure.text(0.012, 0.02, signs(drawing), fontsize=8, color="#5b646e")
        figure.text(0.012, 0.955, drawn(title), fontsize=13, fontweight="bold", parse_math=False)
        figure.savefig(out / "chart.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(out / "chart.png", dpi=PNG_DPI, metadata={"Software": None})


def signs(drawing: Scatter) -> str:
    """What rings and signs mean, of those that occur."""
    marks = drawing.marks
    found = (
        "ring and bold: to ship" if any(mark.chosen for mark in marks) else "",
        "~ timing unstable or unsettled" if any(mark.row.warnings for mark in marks) else "",
        "† mAP measured on another device" if any(mark.row.elsewhere for mark in marks) else "",
    )
    return "   ".join(filter(None, found))


def drawn(text: str) -> str:
    """The text with a box for what the font has no shape for, on one line."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap()
    return "".join(one if ord(one) in known else "□" for one in " ".join(text.split()))


def _box(drawing: Scatter) -> tuple[float, float, float, float]:
    frame = drawing.frame
    top = HEIGHT - drawing.height
    return (
        frame.left / WIDTH,
        (HEIGHT - top - frame.bottom) / HEIGHT,
        (frame.right - frame.left) / WIDTH,
        (frame.bottom - frame.top) / HEIGHT,
    )


def _draw(axes: Axes, drawing: Scatter, devices: Sequence[Device]) -> None:
    frame = drawing.frame
    axes.set_xlim(frame.left, frame.right)
    axes.set_ylim(frame.bottom, frame.top)  # the pixels of the page's chart, so that its names keep clear here too
    axes.set_xticks([x for x, _ in drawing.x_ticks], [text for _, text in drawing.x_ticks], fontsize=9)
    axes.set_yticks([y for y, _ in drawing.y_ticks], [text for _, text in drawing.y_ticks], fontsize=9)
    axes.set_xlabel("end-to-end p90, ms (log)", fontsize=9, loc="right")
    axes.set_ylabel("mAP, 95 % interval", fontsize=8, loc="top", labelpad=1)
    axes.grid(axis="y", color="#eceef0")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for one in drawing.fronts:
        across = [x for x, _ in one.corners] + [frame.right]
        up = [y for _, y in one.corners] + [one.corners[-1][1]]
        style = LINES[one.device.at % len(LINES)]
        axes.step(across, up, where="post", color="#1c2126", linewidth=1.1, alpha=0.6, linestyle=style)
    inner = {device.name: INNER[device.at % len(INNER)] for device in devices}
    for mark in drawing.marks:
        _mark(axes, mark, inner.get(mark.row.device, ""))
    _legend(axes, drawing, devices)


def _mark(axes: Axes, mark: Mark, inner: str) -> None:
    hue = HUES[mark.hue]
    if mark.bar:
        ends = [[mark.y - mark.bar[0]], [mark.bar[1] - mark.y]]
        axes.errorbar([mark.x], [mark.y], yerr=ends, color="#737b84", linewidth=0.9, capsize=2, zorder=2)
    if mark.leader:
        axes.plot([mark.x, mark.leader[0]], [mark.y, mark.leader[1]], color="#737b84", linewidth=0.6, zorder=2)
    axes.plot(
        [mark.x], [mark.y], marker=MARKERS[mark.shape], markersize=7.5, markeredgecolor=hue, markeredgewidth=1.3,
        markerfacecolor=hue if mark.row.engine else "white", zorder=3,
    )  # fmt: skip
    if inner:
        axes.plot([mark.x], [mark.y], marker=inner, markersize=4, color="white" if mark.row.engine else hue, zorder=4)
    if mark.chosen:
        axes.plot([mark.x], [mark.y], marker="o", markersize=16, markerfacecolor="none", markeredgecolor="#1c2126")
    if mark.label is not None:
        x, side = mark.text_at
        weight = "bold" if mark.chosen else "normal"
        axes.text(
            x, mark.label.bottom - 4, drawn(mark.text), ha={"start": "left", "end": "right", "middle": "center"}[side],
            va="baseline", fontsize=FONT_PX * POINT * 0.94, fontweight=weight, parse_math=False, zorder=4,
        )  # fmt: skip
    elif mark.row.warnings:
        axes.text(mark.x + 7, mark.y - 5, "~", fontsize=FONT_PX * POINT * 0.94, zorder=4)


def _legend(axes: Axes, drawing: Scatter, devices: Sequence[Device]) -> None:
    """Shapes, colours and line styles that occur, in one line under the chart."""
    from matplotlib.lines import Line2D

    precisions = {mark.shape for mark in drawing.marks}
    runtimes = {mark.hue for mark in drawing.marks}
    keys = [Line2D([], [], marker=MARKERS[one], color="none", markerfacecolor="#1c2126", markeredgecolor="#1c2126",
                   label=one) for one in MARKERS if one in precisions]  # fmt: skip
    keys += [Line2D([], [], marker="s", color="none", markerfacecolor=HUES[one], markeredgecolor=HUES[one], label=one)
             for one in HUES if one in runtimes]  # fmt: skip
    if any(not mark.row.engine for mark in drawing.marks):
        keys.append(Line2D([], [], marker="o", color="none", markerfacecolor="white", markeredgecolor="#1c2126",
                           label="reference"))  # fmt: skip
    for device in devices:
        name = f"front on {device.letter} {device.name}" if len(devices) > 1 else "Pareto front"
        style = LINES[device.at % len(LINES)]
        keys.append(Line2D([], [], color="#1c2126", linewidth=1.1, alpha=0.6, linestyle=style, label=drawn(name)))
    axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(-0.04, 1.0), ncols=len(keys), frameon=False, fontsize=8,
                handletextpad=0.3, columnspacing=1.0)  # fmt: skip
