"""Run the tiny recipe until one stage, with the errors of the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline import stages
from pipeline.cli import main
from pipeline.recipe.schema import load_recipe

if __name__ == "__main__":
    try:
        stages.pipeline(load_recipe("./tiny.yaml"), Path("runs/tiny")).until(sys.argv[1]).run()
    except (ValueError, OSError, RuntimeError, ImportError) as cause:
        print(main._format_error(cause, argparse.Namespace(command="run", recipe="tiny")), file=sys.stderr)
        sys.exit(main.USER_ERROR)
