"""ONNX Runtime Web for tests."""

import shutil

import pytest

from export.web import packages
from mlkd.core.cache import cache_root


def install() -> None:
    """Copy it to the cache of this run from the user's, where npm installs it once; the test is skipped without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XDG_CACHE_HOME")
        try:
            folder = next(iter(packages.runtime_files().values())).parent
        except packages.PackageError as cause:
            pytest.skip(str(cause))
    shutil.copytree(folder, cache_root() / "web" / folder.name, dirs_exist_ok=True)
