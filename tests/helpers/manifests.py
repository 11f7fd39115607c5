"""Manifests that were changed with a purpose."""

import hashlib
import json
from pathlib import Path
from typing import Any


def rewrite(folder: Path, change: Any, content: bytes | None = None) -> None:
    """Change the manifest, or put `content` there, and its hash."""
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    content = json.dumps(data).encode() if content is None else content
    (folder / "manifest.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
