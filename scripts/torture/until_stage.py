"""Run the tiny recipe until one stage, and print an error as its message alone."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from pipeline import stages
from pipeline.cli.temporary import own_temporary_folder
from pipeline.recipe.schema import load_recipe

if __name__ == "__main__":
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        with own_temporary_folder():
            stages.pipeline(load_recipe("./tiny.yaml"), Path("runs/tiny")).until(sys.argv[1]).run()
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        print(f"error in run: {cause}", file=sys.stderr)
        sys.exit(2)
