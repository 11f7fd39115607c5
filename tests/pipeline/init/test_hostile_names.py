"""A folder, images and labels with hostile names become a recipe that reads them, and nothing but text on the way."""

import json
import os
from pathlib import Path
from typing import Any

from mlkd.core.progress import silent
from pipeline.recipe.schema import load_recipe
from tests.helpers import hostile, layouts


def test_names_are_printed_as_text_and_read_from_the_recipe(init: Any, tmp_path: Path) -> None:
    folder, names = tmp_path / 'it\'s\x1b[2J: #{} "q"\n', list(hostile.NAMES.values())
    rows = []
    for at, name in enumerate(map(os.fsdecode, hostile.FILES * 3)):
        file = f"{at}{name[-90:]}"
        layouts.draw(folder / file, at)
        rows.append({"file": file, "tags": [names[(at * 3 + step * step) % len(names)] for step in range(5)]})
    (folder / "tags.jsonl").write_text("\n".join(map(json.dumps, rows)))
    printed = init.accept(folder, "--out", "mine.yaml")
    assert [line for line in printed.split("\n") if not line.isprintable()] == []
    listing = load_recipe("mine.yaml").data.read(tmp_path, silent)
    assert set(listing.labels.names) == set(names)
    assert {sample.name for some in listing.splits.values() for sample in some} == {row["file"] for row in rows}


def test_a_folder_that_no_recipe_can_name_is_refused(init: Any, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    assert r"\udcff: expected a path in UTF-8, which a recipe can name, got other bytes" in init.refuse(folder)
