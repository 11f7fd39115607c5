"""Prints the results of `tag`, and writes them to sidecars."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.tagger.output import Result


class Results:
    """Takes the results of all images; a context manager, because of the progress bar."""

    def __init__(
        self, options: argparse.Namespace, labels: Collection[str], doubtful: Collection[str], total: int
    ) -> None:
        from export.tagger.hierarchy import read_hierarchy
        from export.tagger.output import CSV_HEADER, CSV_PATHS, Bar, as_csv, as_json, as_text

        self.xmp: str | None = options.xmp
        self.hierarchy = read_hierarchy(options.hierarchy, tuple(labels)) if options.hierarchy else None
        self.doubtful, self.failed, self.done = doubtful, 0, 0
        self._flush, self._bar = options.watch, Bar(sys.stderr, total)
        self._format = as_json if options.json else as_csv if options.csv else as_text
        # Characters that the stream cannot encode are escaped; CSV is always UTF-8.
        sys.stdout.reconfigure(encoding="utf-8" if options.csv else None, errors="backslashreplace")  # type: ignore[union-attr]
        if options.csv:
            print(CSV_HEADER + (CSV_PATHS if self.hierarchy else ""))

    def add(self, name: str, result: Result) -> Result:
        """Write and print one result as it comes; returns it, `Unwritten` if its sidecar failed."""
        from export.tagger.output import one_line, printable

        result = self._written(name, result)
        self._bar.clear()
        cause = self._fault_of(name, result)
        if cause is not None:
            self.failed += 1
            print(f"tagger: {printable(name)}: {one_line(cause)}", file=sys.stderr)
        text = self._format(name, result, self.doubtful, self.hierarchy)
        if text is not None:
            print(text, flush=self._flush)
        self.done += 1
        self._bar.show(self.done, self.failed)
        return result

    def _fault_of(self, name: str, result: Result) -> ValueError | None:
        """Why the image has no tags, no sidecar, or no row that can be read back."""
        from export.tagger.output import NOT_UTF8, Unwritten, as_csv
        from mlkd.core.images import UnreadableImageError
        from mlkd.core.printable import is_utf8

        if isinstance(result, UnreadableImageError):
            return result
        if isinstance(result, Unwritten):
            return result.cause
        return ValueError(NOT_UTF8) if self._format is as_csv and not is_utf8(name) else None

    def _written(self, name: str, result: Result) -> Result:
        from export.tagger.output import Unwritten
        from export.tagger.sidecars import SidecarError, write_tags
        from mlkd.core.images import UnreadableImageError

        if self.xmp is None or isinstance(result, (UnreadableImageError, Unwritten)):
            return result
        paths = [self.hierarchy[tag.label] if self.hierarchy else (tag.label,) for tag in result]
        try:
            write_tags(Path(name), paths, lightroom=self.xmp == "lightroom")
        except SidecarError as cause:
            return Unwritten(result, cause)
        return result

    def __enter__(self) -> Results:
        return self

    def __exit__(self, kind: type[BaseException] | None, cause: BaseException | None, at: TracebackType | None) -> None:
        self._bar.clear()
