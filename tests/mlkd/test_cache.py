from __future__ import annotations

from pathlib import Path

import pytest

from mlkd.cache import cache_root


def test_the_cache_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "edge-tagger"


@pytest.mark.parametrize("unset", ["", "relative/folder", None])
def test_else_it_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unset: str | None) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if unset is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
    assert cache_root() == tmp_path / ".cache/edge-tagger"
