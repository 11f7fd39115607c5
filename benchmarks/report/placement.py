"""Direct labels beside points without covering points, error bars or each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CHARACTER_PX = 0.59  # of the font size, for the wider system fonts
LINE = 1.25
DISTANCES = (9, 15, 24, 36, 50, 66, 84, 104)
ANGLES = tuple(
    math.radians(degrees) for degrees in (0, 180, 270, 90, 315, 225, 45, 135, 20, 160, 200, 340, 292, 248, 68, 112)
)


@dataclass(frozen=True)
class Rect:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Rect) -> float:
        """Shared area in square pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def outside(self, frame: Rect) -> float:
        """How far it reaches over the frame, in pixels."""
        over = (frame.left - self.left, frame.top - self.top, self.right - frame.right, self.bottom - frame.bottom)
        return sum(max(0.0, side) for side in over)


def place(
    anchors: Sequence[tuple[float, float]], texts: Sequence[str], obstacles: Sequence[Rect], frame: Rect, font_px: float
) -> list[Rect]:
    """A rectangle for each text beside its anchor; the most crowded anchors choose first."""
    taken: dict[int, Rect] = {}
    lines: list[Rect] = []
    for i in sorted(range(len(anchors)), key=lambda i: _room(i, anchors)):
        labels = list(taken.values())
        choices = _choices(anchors[i], len(texts[i]) * font_px * CHARACTER_PX, font_px * LINE)
        costs = [
            distance + _cost(rect, [*obstacles, *labels, *lines], frame) + _crossing(anchors[i], rect, labels)
            for rect, distance in choices
        ]
        taken[i] = choices[costs.index(min(costs))][0]
        lines += [Rect(x - 1, y - 1, x + 1, y + 1) for x, y in _leader(anchors[i], taken[i])]
    return [taken[i] for i in range(len(anchors))]


def _room(i: int, anchors: Sequence[tuple[float, float]]) -> float:
    return min((math.dist(anchors[i], other) for j, other in enumerate(anchors) if j != i), default=0.0)


def _choices(anchor: tuple[float, float], width: float, height: float) -> list[tuple[Rect, float]]:
    """Rectangles whose nearest point lies at a distance from the anchor, with that distance."""
    found: list[tuple[Rect, float]] = []
    for distance in DISTANCES:
        for preference, angle in enumerate(ANGLES):
            across, down = math.cos(angle), math.sin(angle)
            x = anchor[0] + across * distance - width * (1 - across) / 2
            y = anchor[1] + down * distance - height * (1 - down) / 2
            found.append((Rect(x, y, x + width, y + height), distance + preference))
    return found


def _cost(rect: Rect, blocked: Sequence[Rect], frame: Rect) -> float:
    shared = [rect.overlap(other) for other in blocked]
    return sum(60 + 20 * area for area in shared if area) + 200 * rect.outside(frame)


def _crossing(anchor: tuple[float, float], rect: Rect, labels: Sequence[Rect]) -> float:
    """What it costs that the line from the anchor to the label runs through other labels."""
    return 80.0 * sum(
        label.left < x < label.right and label.top < y < label.bottom
        for x, y in _leader(anchor, rect)
        for label in labels
    )


def nearest(anchor: tuple[float, float], rect: Rect) -> tuple[float, float]:
    """The point of the rectangle, a little inside at top and bottom, that is nearest to the anchor."""
    x = min(max(anchor[0], rect.left), rect.right)
    y = min(max(anchor[1], rect.top + 2), rect.bottom - 2)
    return round(x, 1), round(y, 1)


def _leader(anchor: tuple[float, float], rect: Rect) -> list[tuple[float, float]]:
    """Points along the line from the anchor to the label."""
    end = nearest(anchor, rect)
    steps = max(1, round(math.dist(anchor, end) / 4))
    return [
        (anchor[0] + (end[0] - anchor[0]) * i / steps, anchor[1] + (end[1] - anchor[1]) * i / steps)
        for i in range(1, steps)
    ]
