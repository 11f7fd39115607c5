"""The files of the measured page: the modules that are published, ONNX Runtime Web, and what times them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.config import DeviceEntry
from benchmarks.device import machine
from mlkd.core.files import sha256_of

HERE = Path(__file__).parent / "page"
WEB = Path(__file__).parents[2] / "export/web"
INDEX = "index.html"


def page_files() -> dict[str, Path]:
    """All of them, by name; PackageError if ONNX Runtime Web is not in the cache and cannot be installed."""
    from export.web.packages import runtime_files

    return {**{file.name: file for file in (*(WEB / "page").glob("*.js"), *HERE.iterdir())}, **runtime_files()}


def identity(entries: Iterable[DeviceEntry]) -> dict[str, Any]:
    """What measurements of browsers depend on besides their entries; empty without one."""
    if all(entry.kind != "browser" for entry in entries):
        return {}
    files = sorted((*(WEB / "page").glob("*.js"), *HERE.iterdir(), WEB / "package-lock.json"))
    page = hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    return {"page": page, "machine": machine.identity()}
