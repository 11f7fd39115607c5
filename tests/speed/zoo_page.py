"""The page that tests/speed/zoo.py prints."""

from typing import Any


def page(records: list[dict[str, Any]], seconds: float) -> str:
    return "\n".join(str(r) for r in records)
