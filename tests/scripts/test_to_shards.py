"""Shards of a recipe's source, from the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mlkd.core.progress import silent
from mlkd.data import Shards
from scripts import to_shards
from tests.helpers import drawings


def test_a_recipe_becomes_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawings.draw(tmp_path)
    recipe, out = drawings.write_recipe(tmp_path, tmp_path), tmp_path / "new/shards"
    monkeypatch.setattr(sys, "argv", ["to_shards", str(recipe), str(out), "--images", "10"])
    to_shards.main()
    printed = capsys.readouterr().out
    assert printed.endswith("shards: 14 shards\n")
    assert sorted(file.name for file in out.iterdir()) == ["dataset.json", "test", "train", "val"]
    listing = Shards(root=out, streams=7).read(tmp_path / "work", silent)
    assert {split: len(samples) for split, samples in listing.splits.items()} == {"train": 64, "val": 32, "test": 24}
    assert listing.composed
    assert [file.name for file in out.parent.iterdir()] == ["shards"]
