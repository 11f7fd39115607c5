"""The result of the stage finals of a search, and of the finalists that were not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.runner.result import read, read_json

RESULT, FOLDERS = "finals.json", "folders.json"  # a SearchResult, and by model the folder beside the search's
BUNDLE, SCORES = "bundle", "scores"  # the stages of a finalist that are measured


def folders(finals: Path) -> Mapping[str, Path]:
    """Return the folders of the finalists that were not chosen, by model."""
    return {model: finals.parent.parent / name for model, name in read_json(finals / FOLDERS).items()}


def contents(finals: Path | None) -> dict[str, Any]:
    """Return hashes of all that is measured of the finals; empty without finals."""
    if finals is None:
        return {}
    found = {"finals": read(finals)}
    found |= {
        f"{model} {stage}": read(at / stage) for model, at in folders(finals).items() for stage in (BUNDLE, SCORES)
    }
    return {"finals": {name: one and one.content for name, one in found.items()}}
