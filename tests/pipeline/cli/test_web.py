"""`web` refuses what it cannot do in one block."""

from pathlib import Path

import pytest

from tests.helpers import bundles
from tests.pipeline.cli.conftest import Refused


def test_without_a_bundle_or_npm_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "bundle: expected a recipe that was exported" in refused("web", "colours")
    bundles.write_colours(tmp_path / "dist/colours", tmp_path / "work")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "expected npm to install it once, got none" in refused("web", "--recipe", "colours")
    assert not (tmp_path / "dist/colours-web").exists()
