"""Golden pictures of the stage bundle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import golden
from tests import bundles


def test_pictures_that_are_gone_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(tmp_path / f"{name}.jpg" for name in bundles.COLOURS)
    pixels = np.zeros((len(files), bundles.PX, bundles.PX, 3), np.uint8)
    monkeypatch.setattr(golden, "read_split", lambda *_: _Split(files, pixels))
    bundles.write_onnx(tmp_path / "fp32.onnx")
    engine = {"name": "a", "not_run": "no such device", "thresholds_of": "fp32.onnx"}
    recipe: Any = SimpleNamespace(
        student=SimpleNamespace(model=SimpleNamespace(image_px=bundles.PX)), export=SimpleNamespace(golden_pictures=2)
    )
    expected = rf"golden pictures: expected one of the 4 of tune that can be read, got none, not even {files[0]}; put"
    with pytest.raises(ValueError, match=expected):
        golden.golden(recipe, tmp_path, tmp_path, [engine], tmp_path / "golden")
    bundles.write_pictures(tmp_path)
    pictures, _ = golden.golden(recipe, tmp_path, tmp_path, [engine], tmp_path / "golden")
    assert len(pictures) == 2


class _Split:
    def __init__(self, files: tuple[Path, ...], pixels: Any) -> None:
        self.files, self._pixels = files, pixels

    def __len__(self) -> int:
        return len(self.files)

    def pixels(self, _: int) -> Any:
        return self._pixels
