"""Counters in the text format of Prometheus; only the event loop changes them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """What the service has done since its start; `info` are labels that do not change."""

    def __init__(self, info: Mapping[str, str]) -> None:
        self.info = info
        self.requests: Counter[tuple[str, int]] = Counter()  # by path and status
        self.rejected: Counter[str] = Counter()  # by reason
        self.images = self.image_errors = 0
        self._in_bucket = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count the duration of a request that was tagged."""
        self._in_bucket[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def render(self, gauges: Mapping[str, int]) -> str:
        """All metrics with what they mean."""
        requests = [({"path": path, "status": str(code)}, count) for (path, code), count in self.requests.items()]
        lines = _family("info", "gauge", "the program and its engine", [(self.info, 1)])
        lines += _family("requests_total", "counter", "answers by path and status", sorted(requests, key=str))
        rejected = [({"reason": reason}, count) for reason, count in sorted(self.rejected.items())]
        lines += _family(
            "rejected_total", "counter", "requests not tagged for load or because the client left, by reason", rejected
        )
        lines += _family("images_total", "counter", "images of answered requests", [({}, self.images)])
        lines += _family("image_errors_total", "counter", "images that could not be read", [({}, self.image_errors)])
        for name, value in gauges.items():
            lines += _family(name, "gauge", name.replace("_", " "), [({}, value)])
        return "\n".join([*lines, *self._histogram(), ""])

    def _histogram(self) -> list[str]:
        total, buckets = 0, []
        for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], self._in_bucket, strict=True):
            total += count
            buckets.append(_sample("tag_seconds_bucket", {"le": bound}, total))
        lines = _family("tag_seconds", "histogram", "from the head of a request to its tags", [])
        return [
            *lines,
            *buckets,
            _sample("tag_seconds_sum", {}, self._seconds),
            _sample("tag_seconds_count", {}, total),
        ]


def _family(name: str, kind: str, text: str, samples: Sequence[tuple[Mapping[str, str], int]]) -> list[str]:
    head = [f"# HELP tagger_{name} {text}", f"# TYPE tagger_{name} {kind}"]
    return [*head, *(_sample(name, labels, value) for labels, value in samples)]


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    listed = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"tagger_{name}{f'{{{listed}}}' if listed else ''} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
