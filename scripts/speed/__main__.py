"""Measure every ratio that a change may spoil, in one run whose parts take turns: `make speed`.

`python -m scripts.speed --only SUBJECT ...` measures only some of losses, metrics, data, training and page.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.device import machine
from scripts.speed import data, losses, metrics, page, training
from scripts.speed.ratio import Way

SUBJECTS = {"losses": losses, "metrics": metrics, "data": data, "training": training, "page": page}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table in Markdown, and the times behind it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, {here['instruction_set']}; medians of {chosen.rounds} rounds\n")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:  # Chromium may still write its profile
        ways: dict[str, Way] = {}
        for subject in chosen.only:
            folder = Path(name) / subject
            folder.mkdir()
            ways |= SUBJECTS[subject].ways(folder)
        rounds = [{way: measure() for way, measure in ways.items()} for _ in range(chosen.rounds)]
    print("| ratio | measured | limit | |\n|---|--:|--:|---|")
    for ratio in (ratio for subject in SUBJECTS.values() for ratio in subject.RATIOS):
        if {*ratio.top, *ratio.bottom} <= ways.keys():
            print(ratio.line(rounds))
    print("\nEach way, from the fastest to the slowest round (s or bytes; of one image in data and training):")
    for way in ways:
        values = sorted(values[way] for values in rounds)
        print(f"  {way:28} {values[0]:10.4g} {values[-1]:10.4g}")


if __name__ == "__main__":
    main()
