"""Files that a user writes by hand: recipes and lists of devices."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe.device_list import read_device_list
from pipeline.recipe.schema import load_recipe


def recipe(content: bytes, folder: Path) -> None:
    """A recipe, and with a second part the recipe that it may extend."""
    first, _, second = content.partition(b"\n====\n")
    (folder / "mine.yaml").write_bytes(first)
    (folder / "base.yaml").write_bytes(second)
    load_recipe(str(folder / "mine.yaml"), folder if len(content) % 2 else None)


def devices(content: bytes, folder: Path) -> None:
    """devices.yaml."""
    (folder / "devices.yaml").write_bytes(content)
    read_device_list(folder / "devices.yaml")
