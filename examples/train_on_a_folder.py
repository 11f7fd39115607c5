"""Train, export and measure a tagger for a folder of images with a table of tags.

    python -m examples.train_on_a_folder /data/mine mine.yaml

The first start writes the recipe; edit it and rerun. A finished stage is skipped, an interrupted one resumes.
"""

import sys
from pathlib import Path

from pipeline.cli.main import main


def run(folder: str, recipe: str, last: str = "bench") -> int:
    """Run the commands up to `last`, distill, export or bench; returns the exit code of the first that fails."""
    if not Path(recipe).exists() and (code := main(["init", folder, "--out", recipe])):
        return code
    commands = ["distill", "export", "bench"]
    return next(
        (code for name in commands[: commands.index(last) + 1] if (code := main([name, "--recipe", recipe]))), 0
    )


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
