"""tagger.pyz: the torch-free part of the project as one file that Python runs."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = (
    "mlkd/__init__.py",
    "mlkd/cache.py",
    "mlkd/labels.py",
    "mlkd/image_kinds.py",
    "mlkd/image_values.py",
    "mlkd/images.py",
    "mlkd/intervals.py",
    "mlkd/metrics.py",
    "mlkd/whole_file.py",
    "export/__init__.py",
    "export/manifest.py",
    "export/bundle.py",
    "export/interrupts.py",
    "export/machine.py",
    "export/program.py",
    "export/signature.py",
    "export/stamp.py",
    "export/backends/*.py",
    "export/tagger/*.py",
    "benchmarks/__init__.py",
    "benchmarks/machine.py",
    "benchmarks/nvml.py",
    "benchmarks/on_device.py",
    "benchmarks/pack.py",
    "benchmarks/program.py",
    "benchmarks/protocol.py",
    "benchmarks/sensors.py",
    "benchmarks/throughput.py",
    "benchmarks/timing.py",
    "pipeline/__init__.py",
    "pipeline/device/*.py",
)
MAIN = """import os
import sys

sys.path[0] = os.path.realpath(sys.path[0])  # modules come when they are needed, and the link may lead elsewhere then

try:
    from export import interrupts

    interrupts.install()
    try:
        from pipeline.device import main

        code = main()
    except Exception:
        interrupts.check()
        raise
except KeyboardInterrupt:  # while modules are loaded
    print("tagger: interrupted", file=sys.stderr)
    code = 130
sys.exit(code)
"""
SHEBANG = b"#!/usr/bin/env python3\n"
# What decides which packages Python finds; all else of its variables is not for a child process.
PACKAGES = ("PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONUSERBASE")
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


def environment() -> dict[str, str]:
    """Of a child process that runs the program: it finds the same packages, wherever it is started."""
    kept = {name: value for name, value in os.environ.items() if name in PACKAGES or not name.startswith("PYTHON")}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    return kept


def _contents() -> dict[str, bytes]:
    found = {"__main__.py": MAIN.encode()}
    for part in PARTS:
        files = sorted(ROOT.glob(part))
        if not files:
            raise FileNotFoundError(f"{ROOT / part}: expected a source file of tagger.pyz, got none; check the clone")
        found |= {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in files}
    return found
