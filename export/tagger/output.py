"""Formats tags as text, JSON lines or CSV; one line per image, whatever its name contains."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from export.tagger.hierarchy import Hierarchy
from export.tagger.sidecars import SidecarError
from export.tagger.tagger import Tag
from mlkd.core.images import UnreadableImageError
from mlkd.core.printable import is_utf8
from mlkd.core.printable import printable as printable

CSV_HEADER = "image,tags,scores,error,doubtful,verdict"  # the last is for a person who corrects the tags
CSV_PATHS = ",paths"  # behind CSV_HEADER, with a hierarchy
JOINT = ";"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes these for the start of a formula
MARKS = (*FORMULA, "'", "?", "!")  # a person writes ?cat and !cat for unknown and absent
BAR = 20  # characters
EVERY_S = 0.1
NOT_UTF8 = "image name: expected UTF-8, as a table holds it, got other bytes; rename the file to use this row"


@dataclass(frozen=True)
class Unwritten:
    """Tags of an image that its sidecar could not take."""

    tags: Sequence[Tag]
    cause: SidecarError


Result = Sequence[Tag] | UnreadableImageError | Unwritten


def as_text(
    name: str, result: Result, doubtful: Collection[str] = (), hierarchy: Hierarchy | None = None
) -> str | None:
    """The name and the labels with their scores, a ? after `doubtful` ones; None for an unreadable image.

    With a hierarchy, the levels above a label stand before it, joined by slashes.
    """
    if isinstance(result, UnreadableImageError):
        return None
    tags, _ = _parts(result)
    listed = ", ".join(
        f"{printable(_path(tag.label, hierarchy))} {tag.score:.2f}{'?' * (tag.label in doubtful)}" for tag in tags
    )
    return f"{printable(name)}: {listed or 'nothing above its threshold'}"


def as_json(name: str, result: Result, doubtful: Collection[str] = (), hierarchy: Hierarchy | None = None) -> str:
    """An object with `image`, `tags` and `error`, in ASCII, so that os.fsencode restores undecodable names.

    Tags with a label in `doubtful` have the key `doubtful`; with a hierarchy, all have a `path`, which ends with the
    label.  Only an image whose tags could not be written has both `tags` and `error`.
    """
    found, error = _parts(result)
    tags: list[dict[str, object]] = [{"label": tag.label, "score": round(tag.score, 6)} for tag in found]
    for tag, (label, _) in zip(tags, found, strict=True):
        if hierarchy is not None:
            tag["path"] = list(hierarchy[label])
        if label in doubtful:
            tag["doubtful"] = True
    listed = {} if isinstance(result, UnreadableImageError) else {"tags": tags}
    return json.dumps({"image": name, **listed, **({"error": error} if error else {})})


def as_csv(name: str, result: Result, doubtful: Collection[str] = (), hierarchy: Hierarchy | None = None) -> str:
    """One row below CSV_HEADER; labels, scores and `doubtful` labels are joined by semicolons, best first.

    With a hierarchy, the row ends with the paths of the labels.  A name or label that starts with one of MARKS gets an
    apostrophe in front, so that spreadsheets show it as text; a label with a semicolon, or a quote at its start, is
    quoted inside its cell.  `mlkd.data.sources.verdicts` reads it.  A name that is not UTF-8 cannot be read back: the
    row has the tags and an error.
    """
    tags, error = _parts(result)
    return _row(
        _inert(name),
        _joined(tag.label for tag in tags),
        JOINT.join(f"{tag.score:.6f}" for tag in tags),
        error or ("" if is_utf8(name) else NOT_UTF8),
        _joined(tag.label for tag in tags if tag.label in doubtful),
        "",
        *([] if hierarchy is None else [_joined(_path(tag.label, hierarchy) for tag in tags)]),
    )


def one_line(cause: BaseException) -> str:
    """The message of an error in one line."""
    return printable(" ".join(str(cause).split())) or type(cause).__name__


class Bar:
    """A progress bar in the last line of a terminal; it appears after a moment, and for several images only."""

    def __init__(self, stream: TextIO, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.total, self.clock = stream, total, clock
        self.shows = total > 1 and stream.isatty()
        self.began = self.drawn = clock()
        self.width = 0

    def show(self, done: int, failed: int) -> None:
        """Draw the bar, at most ten times a second."""
        now = self.clock()
        if not self.shows or now - self.drawn < EVERY_S:
            return
        self.clear()
        rate = done / max(now - self.began, EVERY_S)
        full = BAR * done // self.total
        text = f"[{'#' * full}{'.' * (BAR - full)}] {done} of {self.total}, {rate:.0f}/s"
        text += f", {_duration((self.total - done) / rate)} left" if rate else ""
        text += f", {failed} failed" if failed else ""
        text = text[: shutil.get_terminal_size().columns - 1]
        self.stream.write(text)
        self.stream.flush()
        self.drawn, self.width = now, len(text)

    def clear(self) -> None:
        """Remove the bar."""
        if self.width:
            self.stream.write(f"\r{' ' * self.width}\r")
            self.stream.flush()
            self.width = 0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _parts(result: Result) -> tuple[Sequence[Tag], str]:
    """The tags, and the error in one line or nothing."""
    if isinstance(result, UnreadableImageError):
        return (), one_line(result)
    return (result.tags, one_line(result.cause)) if isinstance(result, Unwritten) else (result, "")


def _path(label: str, hierarchy: Hierarchy | None) -> str:
    return label if hierarchy is None else "/".join(hierarchy[label])


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(MARKS) and text not in FORMULA else text


def _joined(labels: Iterable[str]) -> str:
    return JOINT.join(_quoted(_inert(label)) for label in labels)


def _quoted(label: str) -> str:
    doubled = label.replace('"', '""')
    return f'"{doubled}"' if JOINT in label or label.startswith('"') else label


def _row(*fields: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)  # Python before 3.13 quotes only what is in this
    return line.getvalue().removesuffix("\r\n")
