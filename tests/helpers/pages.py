"""Pages in place of the one that measures, which do something wrong."""

from pathlib import Path


def written(folder: Path, code: str) -> Path:
    """A folder with a page whose `protocol.js` opens everything and has `code` besides."""
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html>")
    opened = "export function open() { return {load_ms: 1, version: '1'}; }\n"
    (folder / "protocol.js").write_text(opened + code)
    return folder
