"""Builds tagger.pyz: the torch-free part of the project in one file that Python runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from export.bundle.archive import write_archive

ROOT = Path(__file__).parents[2]
# Deployed to a device, as whole folders; the import linter and the tests keep them free of torch.
PARTS = (
    "mlkd/core",
    "export/errors.py",
    "export/backends",
    "export/bundle",
    "export/tagger",
    "benchmarks/device",
    "pipeline/tagger_cli",
)
MAIN = """import os
import sys

sys.path[0] = os.path.realpath(sys.path[0])  # modules are imported later, when a link may lead to another version

try:
    from mlkd.core import processes

    processes.note_interrupts()
    try:
        from pipeline.tagger_cli import main

        code = main()
    except Exception:
        processes.raise_interrupt()
        raise
except KeyboardInterrupt:  # while modules are loaded
    print("tagger: interrupted", file=sys.stderr)
    code = 130
sys.exit(code)
"""
SHEBANG = b"#!/usr/bin/env python3\n"


def build_pyz(out: Path) -> Path:
    """Write the program to `out`; equal sources give equal bytes."""
    with out.open("wb") as stream:
        stream.write(SHEBANG)
        write_archive(stream, sorted(_contents().items()))
    out.chmod(0o755)
    return out


def digest() -> str:
    """Hash of the sources that `build_pyz` writes, part of the bundle stage's identity."""
    text = "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(_contents().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _contents() -> dict[str, bytes]:
    contents = {"__main__.py": MAIN.encode()}
    for part in PARTS:
        files = _sources(ROOT / part)
        if not files:
            raise FileNotFoundError(f"{ROOT / part}: expected a source file of tagger.pyz, got none; check the clone")
        contents |= {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in files}
    return contents


def _sources(part: Path) -> list[Path]:
    """The Python files of a part, and the `__init__.py` of its parent packages."""
    files = [part] if part.is_file() else sorted(part.rglob("*.py"))
    parents = [folder / "__init__.py" for folder in part.parents if folder.is_relative_to(ROOT) and folder != ROOT]
    return files and [*files, *(file for file in parents if file.is_file())]
