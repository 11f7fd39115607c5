"""npm installs what is locked, once; without npm, without a network or with a damaged cache there is a clear error."""

import json
import shutil
from pathlib import Path

import pytest

from export.web import packages
from mlkd.core.cache import cache_root


def test_every_package_is_locked_by_its_hash_and_by_no_address() -> None:
    locked = json.loads(packages.LOCK.read_text(encoding="utf-8"))["packages"]
    declared = json.loads((packages.HERE / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert declared == {packages.PACKAGE: packages.version()}
    installed = {name: entry for name, entry in locked.items() if name}
    assert len(installed) > 1
    assert all(entry["integrity"].startswith("sha512-") for entry in installed.values())
    assert "resolved" not in packages.LOCK.read_text(encoding="utf-8")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of ours and of npm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    return tmp_path


def test_without_npm(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(packages.PackageError, match="expected npm to install it once, got none; apt-get install npm"):
        packages.runtime_files()


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_without_a_network(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(packages.PackageError, match=r"got: npm error .*; check the network, which is needed once"):
        packages.runtime_files()
    assert list((empty / "cache/edge-tagger/web").iterdir()) == []


def test_a_filled_cache_needs_no_npm(runtime: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert packages.runtime_files().keys() == packages.FILES.keys()


def test_a_damaged_cache_is_refused(runtime: None, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(iter(_files(monkeypatch).values())).parent
    monkeypatch.setenv("XDG_CACHE_HOME", str(empty / "cache"))
    copy = shutil.copytree(folder, cache_root() / "web" / folder.name)
    (copy / "ort.js").write_text("other")
    with pytest.raises(packages.PackageError, match=r"expected sha256 .*, got .*; remove .* and rerun"):
        packages.runtime_files()


def _files(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    with monkeypatch.context() as patch:
        patch.delenv("XDG_CACHE_HOME")
        return packages.runtime_files()
