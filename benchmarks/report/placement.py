"""Direct labels beside points without covering points, error bars or each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

CHARACTER_PX = 0.59  # of the font size, for the wider system fonts
LINE = 1.25
DISTANCES = (9, 15, 24, 36, 50, 66, 84, 104)
ANGLES = (0, 180, 270, 90, 315, 225, 45, 135, 20, 160, 200, 340, 292, 248, 68, 112)  # degrees, the preferred first
COST_PER_OVERLAP, COST_PER_AREA, COST_OUTSIDE, COST_OF_LINE = 60, 20, 200, 20  # in pixels of distance


@dataclass(frozen=True)
class Rect:
    left: float
    top: float
    right: float
    bottom: float


def place(
    anchors: Sequence[tuple[float, float]], texts: Sequence[str], obstacles: Sequence[Rect], frame: Rect, font_px: float
) -> list[Rect]:
    """A rectangle for each text beside its anchor; the most crowded anchors choose first."""
    spots = np.array(anchors, float).reshape(-1, 2)
    fixed = np.array([astuple(rect) for rect in obstacles], float).reshape(-1, 4)
    labels, ends = np.empty((0, 4)), np.empty((0, 4))  # of the texts that are placed
    placed: dict[int, Rect] = {}
    for i in _crowded_first(spots):
        rects, costs = _choices(spots[i], len(texts[i]) * font_px * CHARACTER_PX, font_px * LINE)
        leaders = _leaders(spots[i], rects)
        costs += _overlap_cost(rects, np.concatenate((fixed, labels))) + COST_OUTSIDE * _outside(rects, frame)
        costs += COST_OF_LINE * (_inside(leaders, labels).sum(1) + _inside(ends, rects).sum(0))
        best = int(costs.argmin())
        labels, ends = np.vstack((labels, rects[best])), np.vstack((ends, leaders[best]))
        placed[i] = Rect(*rects[best].tolist())
    return [placed[i] for i in range(len(spots))]


def nearest(anchor: tuple[float, float], rect: Rect) -> tuple[float, float]:
    """The point of the rectangle, a little inside at top and bottom, that is nearest to the anchor."""
    x, y = _leaders(np.array(anchor), np.array([astuple(rect)]))[0, 2:].tolist()
    return round(x, 1), round(y, 1)


def _crowded_first(spots: np.ndarray) -> list[int]:
    distances = np.linalg.norm(spots[:, None] - spots, axis=2)
    np.fill_diagonal(distances, np.inf)
    order: list[int] = distances.min(1, initial=np.inf).argsort(kind="stable").tolist()
    return order


def _choices(anchor: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles (C, 4) whose nearest point lies at a distance from the anchor, and their costs (C) so far."""
    distance, angle = (part.ravel() for part in np.meshgrid(DISTANCES, np.radians(ANGLES), indexing="ij"))
    direction = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    size = np.array((width, height))
    corner = anchor + direction * distance[:, None] - size * (1 - direction) / 2
    return np.hstack((corner, corner + size)), distance + np.tile(np.arange(float(len(ANGLES))), len(DISTANCES))


def _leaders(anchor: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """Lines (C, 4) from the anchor to the nearest point of each rectangle."""
    inset = np.array((0, 2))
    ends = anchor.clip(rects[:, :2] + inset, rects[:, 2:] - inset)
    return np.hstack((np.broadcast_to(anchor, ends.shape), ends))


def _overlap_cost(rects: np.ndarray, blocked: np.ndarray) -> np.ndarray:
    """By rectangle (C), over all that is blocked (B, 4)."""
    shared = np.minimum(rects[:, None, 2:], blocked[:, 2:]) - np.maximum(rects[:, None, :2], blocked[:, :2])
    area = shared.clip(0).prod(2)
    cost: np.ndarray = np.where(area > 0, COST_PER_OVERLAP + COST_PER_AREA * area, 0.0).sum(1)
    return cost


def _outside(rects: np.ndarray, frame: Rect) -> np.ndarray:
    """How far each rectangle (C, 4) reaches over the frame, in pixels."""
    signs = np.array((-1, -1, 1, 1))
    over: np.ndarray = ((rects - astuple(frame)) * signs).clip(0).sum(1)
    return over


def _inside(lines: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """How many pixels of each line (S, 4) lie inside each rectangle (R, 4), as (S, R)."""
    start, direction = lines[:, None, :2], lines[:, None, 2:] - lines[:, None, :2]
    slope = np.where(np.abs(direction) < 1e-9, 1e-9, direction)  # a tinier one would overflow
    crossings = np.stack(((rects[:, :2] - start) / slope, (rects[:, 2:] - start) / slope))
    enter, leave = crossings.min(0).max(2).clip(0), crossings.max(0).min(2).clip(max=1)
    length: np.ndarray = (leave - enter).clip(0) * np.linalg.norm(direction, axis=2)
    return length
