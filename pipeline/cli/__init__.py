"""The command line, one command a file."""

import sys


def run() -> int:
    """Run one command as `edge-tagger`; without the extras of the project, say how to install them."""
    try:
        from pipeline.cli.main import main
    except ModuleNotFoundError as cause:
        print(f"edge-tagger: {cause}; pip install 'edge-tagger[train,export,report]'", file=sys.stderr)
        return 2
    return main()
