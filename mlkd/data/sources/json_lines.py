"""Reads JSON lines: one object a line, with the file's name and a list of tags."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from mlkd.data.sources.cells import read_lines
from mlkd.data.sources.rows import BadRow, Row, Table
from mlkd.data.sources.table_options import TableOptions

TAGS_KEYS = ("tags", "labels", "label", "categories")


def json_table(path: Path, options: TableOptions) -> Table:
    """Read the rows; bad ones are listed.  Labels are not collected."""
    rows, bad, keys = [], [], dict[str, None]()
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            tree = json.loads(line, object_pairs_hook=_without_repeats)
            row, tags_key = _row(tree, number, line, options)
        except (ValueError, RecursionError) as cause:
            bad.append(BadRow(number, f"expected one JSON object, got {cause}" if _is_syntax(cause) else str(cause)))
            continue
        rows.append(row)
        keys |= dict.fromkeys(
            key for key in tree if key not in (options.file_column, tags_key, "unknown", options.split_column)
        )
    return Table(tuple(rows), bad=tuple(bad), unused=tuple(keys))


def _is_syntax(cause: Exception) -> bool:
    return isinstance(cause, (json.JSONDecodeError, RecursionError)) or "digits" in str(cause)


def _row(tree: Any, number: int, line: str, options: TableOptions) -> tuple[Row, str]:
    key = options.tags_column or next((name for name in TAGS_KEYS if isinstance(tree, dict) and name in tree), "tags")
    if not _is_valid(tree, key, options):
        raise ValueError(
            f'expected {{"{options.file_column}": "…", "{key}": ["…"]}} and optionally '
            f'"unknown": ["…"] and "{options.split_column}": "…", got {line[:80]}'
        )
    tags, unknown = (tuple(sys.intern(str(tag).strip()) for tag in tree.get(name, ())) for name in (key, "unknown"))
    split = tree.get(options.split_column) if options.split_column else None
    return Row(number, tree[options.file_column], tags, unknown, split or None), key


def _is_valid(tree: Any, key: str, options: TableOptions) -> bool:
    return (
        isinstance(tree, dict)
        and isinstance(tree.get(options.file_column), str)
        and key in tree
        and _is_tags(tree[key])
        and _is_tags(tree.get("unknown", []))
        and isinstance(tree.get(options.split_column or "") or "", str)
    )


def _is_tags(value: Any) -> bool:
    """Whether it is a list of texts or whole numbers; null, true and lists are no tags."""
    return isinstance(value, list) and all(
        isinstance(tag, (str, int)) and not isinstance(tag, bool) and str(tag).strip() for tag in value
    )


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise ValueError(f"expected every key once, got {[key for key, _ in pairs]}")
    return tree
