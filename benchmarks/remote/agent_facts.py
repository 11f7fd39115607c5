"""What a device is, and which modules really import there: JSON; standard library only, its source is what travels."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from typing import Any

IMPORT_S = 120.0  # of one module
IMPORT = """import importlib, os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # no runtime reports its use to its maker
importlib.import_module(sys.argv[1])
print(getattr(sys.modules[sys.argv[1].split(".")[0]], "__version__", "unknown"))"""


def imported(module: str) -> dict[str, Any]:
    """Version of a module, or why it does not import; in a process of its own, for it may crash."""
    try:
        ended = subprocess.run([sys.executable, "-c", IMPORT, module], capture_output=True, text=True, timeout=IMPORT_S)
    except subprocess.TimeoutExpired:
        return {"version": None, "error": f"no answer within {IMPORT_S:g} s"}
    said = ended.stderr if ended.returncode else ended.stdout
    last = (said.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    return {"version": None, "error": last} if ended.returncode else {"version": last, "error": None}


if __name__ == "__main__":
    facts = {
        "python": platform.python_version(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "architecture": platform.machine(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "modules": {name: imported(name) for name in sys.argv[1:]},
    }
    sys.stdout.write(json.dumps(facts))
