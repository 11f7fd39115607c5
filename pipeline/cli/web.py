"""web: write the page that tags images in a browser."""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

from export.web.folder import files_of, write_web
from pipeline.cli.options import DIST
from pipeline.cli.signing import find


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("bundle", nargs="?", default="scenes", metavar="RECIPE|FOLDER", help="default: scenes")
    parser.add_argument("--recipe", dest="named", metavar="NAME|FILE", help="the same")
    parser.add_argument("--model", metavar="NAME", help="of tagger.json; default: the fastest in Chromium")


def run(options: argparse.Namespace) -> None:
    """Write the page, and print which graph it has, why, and how large the download is."""
    bundle = find(options.named or options.bundle, DIST)
    out = DIST / f"{bundle.name}-web"
    about = write_web(bundle, out, options.model)
    print(f"{out}: {about['model']}: {about['choice']}")
    files = files_of(out)
    total, packed = (sum(map(size, files.values())) for size in (_size, _packed))
    print(
        f"{len(files)} files, {total / 1e6:.1f} MB, {packed / 1e6:.1f} MB with gzip; serve {out} over https, or try it:"
    )
    print(f"  python3 -m http.server --bind 127.0.0.1 --directory {out}")


def _size(file: Path) -> int:
    return file.stat().st_size


def _packed(file: Path) -> int:
    return len(gzip.compress(file.read_bytes(), mtime=0))
