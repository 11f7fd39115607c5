"""tagger.pyz: the torch-free part of the project as one file that Python runs."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What ships to a device, as whole folders: the import linter and the tests hold these free of torch.
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

sys.path[0] = os.path.realpath(sys.path[0])  # modules come when they are needed, and the link may lead elsewhere then

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
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold


def build_pyz(out: Path) -> Path:
    """Write the program to `out`: equal sources give equal bytes (entries sorted and stored, times fixed)."""
    with out.open("wb") as stream:
        stream.write(SHEBANG)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, content in sorted(_contents().items()):
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.create_system, entry.external_attr = 3, 0o100644 << 16
                archive.writestr(entry, content)
    out.chmod(0o755)
    return out


def digest() -> str:
    """A hash of what `build_pyz` writes: another program makes another bundle."""
    text = "".join(f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(_contents().items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _contents() -> dict[str, bytes]:
    found = {"__main__.py": MAIN.encode()}
    for part in PARTS:
        files = _sources(ROOT / part)
        if not files:
            raise FileNotFoundError(f"{ROOT / part}: expected a source file of tagger.pyz, got none; check the clone")
        found |= {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in files}
    return found


def _sources(part: Path) -> list[Path]:
    """The Python files of a part, and the `__init__.py` of the packages around it."""
    files = [part] if part.is_file() else sorted(part.rglob("*.py"))
    around = [folder / "__init__.py" for folder in part.parents if folder.is_relative_to(ROOT) and folder != ROOT]
    return files and [*files, *(file for file in around if file.is_file())]
