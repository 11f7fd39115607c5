"""Open clip art with its human keywords: how a folder of one's own becomes a data set that can be trusted."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from os import sched_getaffinity
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlkd.core.labels import Labels
from mlkd.core.progress import Progress
from mlkd.data.base import Listing, Picture, fingerprint_files
from mlkd.data.keywords import RULES, Rules, keywords, read_rules
from mlkd.data.near_duplicates import grey_drawing, same_drawing_groups
from mlkd.data.scenes.cache import fetched_pictures
from mlkd.data.scenes.cutouts import visible_part
from mlkd.data.scenes.mapping import matcher
from mlkd.data.splits import carve

DRAWINGS = Path("usr/share/openclipart")
CARVED = ((0.65, "train"), (0.77, "val"), (1.0, "test"))
MANY = 500  # drawings from which on it pays to start processes
LARGEST_SHARE = 0.02  # of all pictures; a larger group of near-duplicates would fill a split with one drawing
LICENCES = ("public domain (openclipart-png, openclipart-svg)",)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Seen:
    """What near-duplicates are found by: the cropped drawing in 24x24 greys, and its width / height."""

    grey: NDArray[np.uint8]
    aspect: float


@dataclass(frozen=True, kw_only=True)
class Clipart:
    """The fetched clip art; a keyword of fewer than `least_positives` drawings is no label.

    clipart.yaml beside this file says which keywords are dropped and merged, and which long series are cut short.
    """

    kind: Literal["clipart"] = "clipart"
    least_positives: int = 16

    def __post_init__(self) -> None:
        if self.least_positives < 1:
            raise ValueError(f"least_positives: expected at least 1, got {self.least_positives}")

    def needs_fetch(self) -> bool:
        """Always: there is no other clip art."""
        return True

    def fingerprint(self) -> str:
        """Names and sizes of all drawings, and the rules."""
        root = fetched_pictures() / DRAWINGS
        rules = hashlib.sha256(RULES.read_bytes()).hexdigest()
        files = [file for suffix in ("png", "svg") for file in (root / suffix).rglob(f"*.{suffix}")]
        return fingerprint_files(files, root)[:32] + rules[:32]

    def read(self, work: Path, progress: Progress) -> Listing:  # noqa: ARG002  (only scenes write)
        """List the drawings; near-duplicates share a group, and so a split."""
        root, rules = fetched_pictures() / DRAWINGS, read_rules()
        names = _without_long_series(drawings(root, rules), rules)
        tagged = {name: rules.labels(keywords((root / f"svg/{name}.svg").read_bytes())) for name in names}
        counts = Counter(label for labels in tagged.values() for label in labels)
        labels = Labels(tuple(sorted(label for label, count in counts.items() if count >= self.least_positives)))
        columns = {name: tuple(sorted(map(labels.index, tagged[name] & set(labels.names)))) for name in names}
        skipped = {name: "no keyword says what it shows" for name in names if not columns[name]}
        seen = _look([root / f"png/{name}.png" for name in names if columns[name]], progress)
        drawn = dict(zip((name for name in names if columns[name]), seen, strict=True))
        skipped |= {name: one for name, one in drawn.items() if isinstance(one, str)}
        groups = _groups({name: one for name, one in drawn.items() if isinstance(one, _Seen)})
        pictures = [Picture(name, root / f"png/{name}.png", columns[name], group) for name, group in groups.items()]
        provenance = f"Open clip art with the keywords that people gave it; {_largest(groups)}."
        return Listing(labels, carve(pictures, CARVED), provenance, LICENCES, skipped=skipped)


def drawings(root: Path, rules: Rules) -> list[str]:
    """Names of the drawings that have both a picture and an SVG.  Raises ValueError without any."""
    pictures, vectors = (
        {file.relative_to(root / suffix).with_suffix("").as_posix() for file in (root / suffix).rglob(f"*.{suffix}")}
        for suffix in ("png", "svg")
    )
    never = matcher(rules.never)
    found = sorted(name for name in pictures & vectors if not never.match(name))
    if not found:
        raise ValueError(
            f"clip art: expected drawings as .png and .svg below {root}, got {len(pictures)} .png and {len(vectors)} "
            ".svg; run `python -m pipeline fetch`"
        )
    return found


def _without_long_series(names: list[str], rules: Rules) -> list[str]:
    """Of each series only as many as its rule takes, in an order that the names' hashes give."""
    left_out: set[str] = set()
    for pattern, at_most in rules.series.items():
        series = [name for name in names if matcher((pattern,)).match(name)]
        left_out.update(sorted(series, key=lambda name: hashlib.sha256(name.encode()).digest())[at_most:])
    return [name for name in names if name not in left_out]


def _look(files: list[Path], progress: Progress) -> list[_Seen | str]:
    """What near-duplicates are found by, or why a drawing cannot be taken; in the order of `files`."""
    seen: list[_Seen | str] = []
    for one in _seen(files):
        if len(seen) % 100 == 0:
            progress("near-duplicates", len(seen), len(files))
        seen.append(one)
    progress("near-duplicates", len(files), len(files))
    return seen


def _seen(files: list[Path]) -> Iterator[_Seen | str]:
    processes = min(len(sched_getaffinity(0)), 8)
    if processes == 1 or len(files) < MANY:
        yield from map(_see, files)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_see, files, chunksize=64)


def _see(file: Path) -> _Seen | str:
    image = visible_part(file)
    return image if isinstance(image, str) else _Seen(*grey_drawing(image))


def _groups(seen: dict[str, _Seen]) -> dict[str, str]:
    """Name -> the first name of its near-duplicates."""
    names = list(seen)
    greys = np.stack([one.grey for one in seen.values()])
    aspects = np.array([one.aspect for one in seen.values()], dtype=np.float32)
    return {name: names[first] for name, first in zip(names, same_drawing_groups(greys, aspects), strict=True)}


def _largest(groups: dict[str, str]) -> str:
    """How large the largest group is, also told to the log."""
    name, size = Counter(groups.values()).most_common(1)[0]
    share = size / len(groups)
    text = f"the largest group of near-duplicates is {size} of {len(groups)} drawings ({share:.1%}), as {name}"
    _log.log(logging.INFO if share < LARGEST_SHARE else logging.WARNING, "clip art: %s", text)
    return text
