import os
from pathlib import Path

import pytest

from mlkd.core.cache import cache_root, private


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edge-tagger"


@pytest.mark.parametrize("variable", ["", "relative/folder", None])
def test_the_cache_is_in_xdg_cache_home_or_else_in_the_home_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    assert cache_root() == cache
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    if variable is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert cache_root() == tmp_path / ".cache/edge-tagger"


def test_a_user_without_a_home_folder_gets_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(OSError, match=r"expected a home folder, got: Could not .* set HOME, or .* XDG_CACHE_HOME"):
        cache_root()


def test_only_the_user_may_open_a_private_folder(cache: Path) -> None:
    before = os.umask(0)
    try:
        assert private(cache / "engines/some") == cache / "engines/some"
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (cache, cache / "engines", cache / "engines/some")] == [0o700] * 3
    assert private(cache / "engines/some").is_dir()  # again


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_that_others_may_write_is_refused(cache: Path, mode: int) -> None:
    private(cache / "engines/some")
    (cache / "engines").chmod(mode)
    with pytest.raises(PermissionError, match=rf"{cache}/engines: expected .* mode {mode:o}; .* XDG_CACHE_HOME"):
        private(cache / "engines/some")


def test_a_folder_of_another_user_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(cache / "kernels")
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match=rf"{cache}/kernels: expected .* user {owner + 1} .*, got user {owner},"):
        private(cache / "kernels")


def test_a_system_without_users_accepts_any_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(cache / "kernels").chmod(0o777)
    monkeypatch.delattr(os, "getuid")
    assert private(cache / "kernels").is_dir()
