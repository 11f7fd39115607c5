"""Reads JSON of others."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`, but with ValueError also for a document in more levels than Python can read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("lists or objects in too many levels") from None
